package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Against what transformers generates; the file is made by src/test/python/generation_golden.py.
 */
class GenerationParityTest {

  private static final Sampling GREEDY = Sampling.greedy().withMaxNewTokens(12);

  private static Stream<Arguments> families() throws IOException {
    try (InputStream in =
        GenerationParityTest.class.getResourceAsStream("generation-golden.json")) {
      return JsonMapper.shared()
          .readTree(Objects.requireNonNull(in))
          .valueStream()
          .map(each -> Arguments.of(each.get("family").asString(), each));
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void a_batch_of_unequal_prompts_says_what_transformers_says(String family, JsonNode golden)
      throws IOException {
    try (var tiny = new TinyModel(family)) {
      assertThat(answers(tiny, golden, GREEDY)).isEqualTo(rows(golden.get("batch")));
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("families")
  void a_repetition_penalty_works_as_in_transformers(String family, JsonNode golden)
      throws IOException {
    try (var tiny = new TinyModel(family)) {
      assertThat(answers(tiny, golden, GREEDY.withRepetitionPenalty(1.8)))
          .isEqualTo(rows(golden.get("penalty")));
    }
  }

  private static List<List<Integer>> answers(TinyModel tiny, JsonNode golden, Sampling sampling) {
    List<Prompt> prompts =
        golden
            .get("prompts")
            .valueStream()
            .map(ids -> Prompt.of(ids.valueStream().mapToInt(JsonNode::asInt).toArray()))
            .toList();
    return tiny.generator().generate(prompts, sampling).stream()
        .map(each -> java.util.Arrays.stream(each.ids()).boxed().toList())
        .toList();
  }

  private static List<List<Integer>> rows(JsonNode rows) {
    return rows.valueStream().map(row -> row.valueStream().map(JsonNode::asInt).toList()).toList();
  }
}
