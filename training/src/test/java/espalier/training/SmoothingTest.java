package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class SmoothingTest {

  @Test
  void a_short_run_is_left_as_it_is() {
    assertThat(Smoothing.of(new double[] {3, 1, 2})).containsExactly(3, 1, 2);
  }

  @Test
  void a_constant_stays_the_constant_from_the_first_value_on() {
    double[] values = new double[200];
    Arrays.fill(values, 5);

    assertThat(Smoothing.of(values)).containsExactly(values, within(1e-12));
  }

  @Test
  void the_first_values_are_their_plain_mean_at_equal_weights() {
    // 40 values: a reach of 2, so each keeps 1/3 of what was: (3/3 * 1/3 + 9 * 2/3) / (8/9) = 7.5
    double[] values = new double[40];
    values[0] = 3;
    values[1] = 9;

    assertThat(Smoothing.of(values)[1]).isEqualTo(7.5, within(1e-12));
  }

  @Test
  void noise_around_a_level_is_smoothed_away() {
    double[] values = IntStream.range(0, 400).mapToDouble(i -> i % 2 == 0 ? 1 : 3).toArray();

    double last = Smoothing.of(values)[399];

    assertThat(last).isEqualTo(2, within(0.15));
  }

  @Test
  void a_value_that_is_no_number_is_passed_over() {
    assertThat(Smoothing.of(new double[] {Double.NaN, 4, Double.POSITIVE_INFINITY, 2}))
        .containsExactly(Double.NaN, 4, 4, 2);
  }
}
