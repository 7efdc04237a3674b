package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class CandidatesTest {

  private static final Sampling ALL = Sampling.defaults().withTopK(0);
  private static final double[] P = {0.5, 0.25, 0.15, 0.1}; // of tokens 7, 2, 9, 4

  @Test
  void without_limits_all_tokens_keep_their_probabilities() {
    assertThat(kept(ALL)).isEqualTo(Map.of(7, 0.5, 2, 0.25, 9, 0.15, 4, 0.1));
  }

  @Test
  void a_temperature_of_two_takes_square_roots() {
    double sum = Math.sqrt(0.5) + Math.sqrt(0.25) + Math.sqrt(0.15) + Math.sqrt(0.1);

    Map<Integer, Double> kept = kept(ALL.withTemperature(2));

    assertThat(kept.get(7)).isCloseTo(Math.sqrt(0.5) / sum, within(1e-6));
    assertThat(kept.get(4)).isCloseTo(Math.sqrt(0.1) / sum, within(1e-6));
  }

  @Test
  void top_k_keeps_that_many() {
    assertThat(kept(ALL.withTopK(2))).isEqualTo(Map.of(7, 0.666667, 2, 0.333333));
  }

  @Test
  void top_k_keeps_what_ties_with_the_last() {
    var tied = new Candidates(new int[] {5, 3, 1}, new double[] {2, 1, 1}, 0, true);

    Shortlist list = Objects.requireNonNull(tied.shortlist(ALL.withTopK(2)));

    assertThat(list.size()).isEqualTo(3);
  }

  @Test
  void top_p_keeps_the_token_that_crosses_the_line() {
    assertThat(kept(ALL.withTopP(0.6))).isEqualTo(Map.of(7, 0.666667, 2, 0.333333));
  }

  @Test
  void top_p_counts_within_what_top_k_left() {
    // of 0.5 and 0.25 the first alone is two thirds
    assertThat(kept(ALL.withTopK(2).withTopP(0.6))).isEqualTo(Map.of(7, 1.0));
  }

  @Test
  void top_p_of_zero_keeps_the_most_likely_one() {
    assertThat(kept(ALL.withTopP(0))).isEqualTo(Map.of(7, 1.0));
  }

  @Test
  void min_p_is_a_share_of_the_most_likely_one() {
    assertThat(kept(ALL.withMinP(0.25))).isEqualTo(Map.of(7, 0.555556, 2, 0.277778, 9, 0.166667));
  }

  @Test
  void equals_stand_in_the_order_of_their_ids() {
    var flat = new Candidates(new int[] {8, 3, 5}, new double[] {1, 1, 1}, Math.log(3), true);

    Shortlist list = Objects.requireNonNull(flat.shortlist(ALL));

    assertThat(new int[] {list.draw(0), list.draw(0.4), list.draw(0.999999)})
        .containsExactly(3, 5, 8);
  }

  @Test
  void a_draw_falls_where_the_probabilities_sum_up_to_it() {
    Shortlist list = Objects.requireNonNull(candidates(true).shortlist(ALL));

    int[] drawn =
        Arrays.stream(new double[] {0, 0.49, 0.51, 0.74, 0.76, 0.91, 0.9999999})
            .mapToInt(list::draw)
            .toArray();

    assertThat(drawn).containsExactly(7, 7, 2, 2, 9, 4, 4);
  }

  @Test
  void a_draw_beyond_the_known_tokens_is_said_to_be_so() {
    Shortlist list = Objects.requireNonNull(candidates(false).shortlist(ALL));

    // the last of the known has probability 0.1 but others may tie with it
    assertThat(list.draw(0.8)).isEqualTo(9);
    assertThat(list.draw(0.95)).isEqualTo(Shortlist.BEYOND);
  }

  @Test
  void limits_that_need_more_tokens_ask_for_them() {
    Candidates some = candidates(false);

    assertThat(some.shortlist(ALL.withTopK(4))).isNull();
    assertThat(some.shortlist(ALL.withTopP(0.95))).isNull();
    assertThat(some.shortlist(ALL.withMinP(0.1))).isNull();
    assertThat(some.shortlist(ALL.withTopK(3))).isNotNull();
    assertThat(some.shortlist(ALL.withTopP(0.9))).isNotNull();
    assertThat(some.shortlist(ALL.withMinP(0.4))).isNotNull();
  }

  @Test
  void a_list_of_equals_that_may_go_on_decides_nothing() {
    var flat = new Candidates(new int[] {8, 3, 5}, new double[] {1, 1, 1}, 5, false);

    assertThat(flat.shortlist(Sampling.greedy())).isNull();
  }

  private static Candidates candidates(boolean whole) {
    return new Candidates(
        new int[] {7, 2, 9, 4},
        Arrays.stream(P).map(p -> Math.log(p) + 3).toArray(),
        Math.log(2),
        whole);
  }

  /** Probabilities to six places. */
  private static Map<Integer, Double> kept(Sampling sampling) {
    return probabilities(candidates(true).shortlist(sampling));
  }

  private static Map<Integer, Double> probabilities(@Nullable Shortlist list) {
    var all = new LinkedHashMap<Integer, Double>();
    for (int i = 0; i < Objects.requireNonNull(list).size(); i++) {
      all.put(list.id(i), Math.round(list.probability(i) * 1e6) / 1e6);
    }
    return all;
  }
}
