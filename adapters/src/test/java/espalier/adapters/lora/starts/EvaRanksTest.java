package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

class EvaRanksTest {

  private static Map<String, float[]> explained() {
    var explained = new LinkedHashMap<String, float[]>();
    explained.put("q", new float[] {0.5f, 0.3f, 0.1f});
    explained.put("o", new float[] {0.9f, 0.05f, 0.01f});
    explained.put("k", new float[] {0.5f, 0.3f, 0.1f});
    return explained;
  }

  @Test
  void the_components_that_explain_most_win() {
    assertThat(EvaRanks.shared(explained(), Map.of("k", "q"), 6))
        .containsExactlyInAnyOrderEntriesOf(Map.of("q", 3, "o", 1, "k", 2));
  }

  @Test
  void a_layer_may_win_nothing() {
    assertThat(EvaRanks.shared(explained(), Map.of("k", "q"), 2))
        .containsExactlyInAnyOrderEntriesOf(Map.of("q", 1, "o", 1, "k", 0));
  }

  @Test
  void a_layer_that_owns_an_analysis_has_at_least_the_rank_of_those_that_share_it() {
    var sharerFirst = new LinkedHashMap<String, float[]>();
    sharerFirst.put("k", new float[] {0.5f});
    sharerFirst.put("q", new float[] {0.5f});

    assertThat(EvaRanks.shared(sharerFirst, Map.of("k", "q"), 1))
        .containsExactlyInAnyOrderEntriesOf(Map.of("q", 1, "k", 0));
  }

  @Test
  void fewer_components_than_the_budget_are_all_taken() {
    assertThat(EvaRanks.shared(explained(), Map.of(), 100).values()).containsOnly(3);
  }
}
