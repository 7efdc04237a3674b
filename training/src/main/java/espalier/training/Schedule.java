package espalier.training;

import java.util.List;

/**
 * The course of the learning rate over a run, as a factor on the rate that the user gave.
 *
 * <p>All schedules warm up alike: of {@code w} warm-up steps, step s (counted from 0) uses (s + 1)
 * / w, so the first step already learns and the last one of the warm-up has the full rate. The
 * curve of the schedule follows; its progress p goes from 0 at step w to 1 at the end of the run.
 */
public sealed interface Schedule {

  /** The names that {@link #of} knows, as recipes write them. */
  List<String> NAMES =
      List.of("constant", "linear", "cosine", "cosine-with-min", "inverse-sqrt", "polynomial");

  /** The rise before the curve. */
  Warmup warmup();

  /**
   * The factor of the learning rate for one optimizer step.
   *
   * @param step counted from 0; beyond the end of the run the last value of the curve holds
   * @param totalSteps optimizer steps of the whole run, 1 or more
   * @return a factor in [0, 1]
   */
  default double factor(int step, int totalSteps) {
    if (step < 0 || totalSteps < 1) {
      throw new IllegalArgumentException(
          "step %d of %d does not exist; steps count from 0 and a run has 1 or more"
              .formatted(step, totalSteps));
    }
    int warmup = warmup().steps(totalSteps);
    if (step < warmup) {
      return (step + 1.0) / warmup;
    }
    double left = Math.clamp((totalSteps - step) / (double) Math.max(1, totalSteps - warmup), 0, 1);
    return switch (this) {
      case Constant _ -> 1;
      case Linear _ -> left;
      case Cosine _ -> halfCosine(left);
      case CosineWithMin(_, double min) -> min + (1 - min) * halfCosine(left);
      case InverseSqrt(_, int timescale) -> {
        int scale = timescale > 0 ? timescale : warmup > 0 ? warmup : 10_000;
        yield 1 / Math.sqrt((step - warmup + scale) / (double) scale);
      }
      case Polynomial(_, double power, double end) -> end + (1 - end) * Math.pow(left, power);
    };
  }

  /**
   * The schedule of this name with its usual settings.
   *
   * @throws IllegalArgumentException if no schedule has this name
   */
  static Schedule of(String name, Warmup warmup) {
    return switch (name.replace('_', '-')) {
      case "constant" -> new Constant(warmup);
      case "linear" -> new Linear(warmup);
      case "cosine" -> new Cosine(warmup);
      case "cosine-with-min" -> new CosineWithMin(warmup, 0.1);
      case "inverse-sqrt" -> new InverseSqrt(warmup, 0);
      case "polynomial" -> new Polynomial(warmup, 2, 0);
      default ->
          throw new IllegalArgumentException(
              "schedule is %s but the known ones are %s".formatted(name, String.join(", ", NAMES)));
    };
  }

  private static double halfCosine(double left) {
    return 0.5 * (1 + Math.cos(Math.PI * (1 - left)));
  }

  private static void checkPart(String name, double value) {
    if (!(value >= 0 && value <= 1)) {
      throw new IllegalArgumentException(
          "%s is %s but is a part of the learning rate, in [0, 1]; 0.1 is usual"
              .formatted(name, value));
    }
  }

  /** The full rate to the end. */
  record Constant(Warmup warmup) implements Schedule {}

  /** Falls in a straight line, 1 - p. */
  record Linear(Warmup warmup) implements Schedule {}

  /**
   * Falls by half a cosine, (1 + cos πp) / 2.
   *
   * @see <a href="https://arxiv.org/abs/1608.03983">SGDR, without restarts</a>
   */
  record Cosine(Warmup warmup) implements Schedule {}

  /**
   * Falls by half a cosine to a floor.
   *
   * @param min the floor, as a part of the learning rate in [0, 1]
   */
  record CosineWithMin(Warmup warmup, double min) implements Schedule {

    public CosineWithMin {
      checkPart("min", min);
    }
  }

  /**
   * Falls as 1 / √((t + c) / c), with t steps gone since the warm-up; it never reaches 0, so a run
   * may be made longer without changing what was.
   *
   * @param timescale the constant c in steps; 0 takes the length of the warm-up, or 10 000 without
   *     one
   */
  record InverseSqrt(Warmup warmup, int timescale) implements Schedule {

    public InverseSqrt {
      if (timescale < 0) {
        throw new IllegalArgumentException(
            "timescale is %d steps but must be 0 or more; 0 takes the length of the warm-up"
                .formatted(timescale));
      }
    }
  }

  /**
   * Falls as (1 - p) to a power, to a floor.
   *
   * @param power above 0; 1 is a straight line, 2 is usual
   * @param end the floor, as a part of the learning rate in [0, 1]
   */
  record Polynomial(Warmup warmup, double power, double end) implements Schedule {

    public Polynomial {
      if (!(power > 0)) {
        throw new IllegalArgumentException(
            "power is %s but must be above 0; 1 is a straight line, 2 is usual".formatted(power));
      }
      checkPart("end", end);
    }
  }
}
