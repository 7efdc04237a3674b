package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class ScheduleTest {

  private static final Warmup TWO = new Warmup.Steps(2);

  private static double[] course(Schedule schedule, int steps) {
    return IntStream.range(0, steps).mapToDouble(step -> schedule.factor(step, steps)).toArray();
  }

  @Test
  void every_schedule_warms_up_alike_and_reaches_the_full_rate() {
    for (String name : Schedule.NAMES) {
      Schedule schedule = Schedule.of(name, new Warmup.Steps(4));

      double[] course = course(schedule, 10);

      assertThat(course).startsWith(0.25, 0.5, 0.75, 1, 1);
    }
  }

  @Test
  void constant_stays() {
    assertThat(course(new Schedule.Constant(Warmup.none()), 3)).containsExactly(1, 1, 1);
  }

  @Test
  void linear_falls_by_equal_parts_and_never_trains_at_zero() {
    double[] course = course(new Schedule.Linear(new Warmup.Steps(3)), 8);

    assertThat(course)
        .containsExactly(new double[] {1 / 3.0, 2 / 3.0, 1, 1, 0.8, 0.6, 0.4, 0.2}, within(1e-15));
  }

  @Test
  void cosine_is_at_half_in_the_middle() {
    double[] course = course(new Schedule.Cosine(TWO), 6);

    // progress 0, 1/4, 1/2, 3/4: (1 + cos 45°) / 2 = 0.853553
    assertThat(course)
        .containsExactly(new double[] {0.5, 1, 1, 0.853553, 0.5, 0.146447}, within(1e-6));
  }

  @Test
  void cosine_with_a_floor_ends_on_it() {
    Schedule schedule = new Schedule.CosineWithMin(TWO, 0.2);

    assertThat(schedule.factor(4, 6)).isEqualTo(0.6, within(1e-12));
    assertThat(schedule.factor(6, 6)).isEqualTo(0.2);
    assertThat(schedule.factor(60, 6)).isEqualTo(0.2);
  }

  @Test
  void inverse_sqrt_is_at_half_after_three_more_times_the_warm_up() {
    Schedule schedule = new Schedule.InverseSqrt(new Warmup.Steps(100), 0);

    assertThat(schedule.factor(100, 1000)).isEqualTo(1);
    assertThat(schedule.factor(400, 1000)).isEqualTo(0.5, within(1e-12));
    assertThat(schedule.factor(400, 500)).isEqualTo(schedule.factor(400, 1000));
  }

  @Test
  void inverse_sqrt_takes_its_own_time_scale() {
    Schedule schedule = new Schedule.InverseSqrt(Warmup.none(), 8);

    assertThat(schedule.factor(24, 100)).isEqualTo(0.5, within(1e-12));
  }

  @Test
  void polynomial_of_power_two_is_the_square_of_what_is_left() {
    double[] course = course(new Schedule.Polynomial(Warmup.none(), 2, 0), 4);

    assertThat(course).containsExactly(new double[] {1, 0.5625, 0.25, 0.0625}, within(1e-15));
  }

  @Test
  void polynomial_ends_on_its_floor() {
    assertThat(new Schedule.Polynomial(Warmup.none(), 1, 0.1).factor(10, 10)).isEqualTo(0.1);
  }

  @Test
  void a_warm_up_longer_than_the_run_is_cut_off_by_its_end() {
    double[] course = course(new Schedule.Linear(new Warmup.Steps(8)), 2);

    assertThat(course).containsExactly(0.125, 0.25);
  }

  @Test
  void a_run_that_is_all_warm_up_divides_by_nothing() {
    assertThat(new Schedule.Cosine(TWO).factor(2, 2)).isEqualTo(0, within(1e-15));
  }

  @Test
  void a_recipe_number_below_one_is_a_part_of_the_run_and_else_steps() {
    assertThat(Warmup.of(0.03).steps(100)).isEqualTo(3);
    assertThat(Warmup.of(0.03).steps(101)).isEqualTo(4);
    assertThat(Warmup.of(50).steps(100)).isEqualTo(50);
    assertThat(Warmup.of(0).steps(100)).isZero();
  }

  @Test
  void a_part_that_binary_fractions_overshoot_is_not_rounded_up_a_whole_step() {
    assertThat(Warmup.of(0.07).steps(100)).isEqualTo(7); // 0.07 * 100 = 7.000000000000001
  }

  @Test
  void a_warm_up_that_makes_no_sense_is_refused() {
    assertThatThrownBy(() -> Warmup.of(1.5))
        .hasMessage(
            "warmup is 1.5 but must be a part of the run such as 0.03, or a whole number of steps"
                + " such as 100");
    assertThatThrownBy(() -> Warmup.of(Double.NaN)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new Warmup.Steps(-1))
        .hasMessage("warmup is -1 steps but cannot be negative; 0 turns it off");
  }

  @Test
  void an_unknown_name_is_refused_with_the_known_ones() {
    assertThatThrownBy(() -> Schedule.of("cosin", Warmup.none()))
        .hasMessage(
            "schedule is cosin but the known ones are constant, linear, cosine, cosine-with-min,"
                + " inverse-sqrt, polynomial");
  }

  @Test
  void a_step_before_the_run_is_refused() {
    assertThatThrownBy(() -> new Schedule.Constant(TWO).factor(-1, 5))
        .hasMessage("step -1 of 5 does not exist; steps count from 0 and a run has 1 or more");
  }
}
