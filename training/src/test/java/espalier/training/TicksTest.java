package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

final class TicksTest {

  private static List<String> labels(double low, double high, int count) {
    Ticks ticks = Ticks.around(low, high, count);
    return ticks.values().stream().map(ticks::label).toList();
  }

  @Test
  void marks_are_round_and_enclose_the_values() {
    assertThat(labels(1.26, 3.74, 5))
        .containsExactly("1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0");
    assertThat(labels(0, 20_000, 5)).containsExactly("0", "5,000", "10,000", "15,000", "20,000");
  }

  @Test
  void small_numbers_are_written_as_people_write_learning_rates() {
    assertThat(labels(0, 2e-4, 5)).containsExactly("0", "5e-5", "1e-4", "1.5e-4", "2e-4");
    assertThat(labels(0, 1e-5, 5)).contains("2e-6", "1e-5");
  }

  @Test
  void a_flat_line_still_has_an_axis() {
    assertThat(labels(2, 2, 5)).hasSizeGreaterThan(1).contains("2.0");
    assertThat(labels(0, 0, 5)).hasSizeGreaterThan(1);
  }

  @Test
  void values_on_a_mark_add_no_empty_band() {
    Ticks ticks = Ticks.around(0.1, 0.3, 2);

    assertThat(ticks.low()).isEqualTo(0.1);
    assertThat(ticks.high()).isEqualTo(3 * 0.1);
  }
}
