package espalier.adapters.adalora;

import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.Violations;
import org.jspecify.annotations.Nullable;

/**
 * How ranks are handed out while AdaLoRA trains.
 *
 * @param initR rank of every layer at first, 1 or more
 * @param targetR mean rank in the end
 * @param tinit steps before ranks are taken away
 * @param tfinal steps after the last was
 * @param deltaT steps from one allocation to the next
 * @param beta1 memory of the sensitivity, in (0, 1)
 * @param beta2 memory of its uncertainty, in (0, 1)
 * @param totalStep steps of the whole training, or null where that is not known
 */
public record Allocation(
    int initR,
    int targetR,
    int tinit,
    int tfinal,
    int deltaT,
    double beta1,
    double beta2,
    @Nullable Integer totalStep) {

  /** The method's defaults but for the number of steps. */
  public static Allocation defaults(int totalStep) {
    return new Allocation(12, 8, 0, 0, 1, 0.85, 0.85, totalStep);
  }

  /** The same with other ranks at first and in the end; equal ones take nothing away. */
  public Allocation withRanks(int first, int last) {
    return new Allocation(first, last, tinit, tfinal, deltaT, beta1, beta2, totalStep);
  }

  void check(Violations wrong) {
    wrong
        .unless(initR >= 1, "init_r is %d but a rank is 1 or more; 12 is the default", initR)
        .unless(
            totalStep != null && totalStep > 0,
            "total_step is %s but AdaLoRA needs the number of training steps, 1 or more",
            String.valueOf(totalStep))
        .unless(
            totalStep == null || tinit < totalStep - tfinal,
            "tinit is %d and tfinal is %d, which leaves none of the %s steps of total_step for"
                + " handing out ranks; lower one of them",
            tinit,
            tfinal,
            String.valueOf(totalStep));
  }

  static Allocation read(ConfigFields in) {
    return new Allocation(
        in.integer("init_r", 12),
        in.integer("target_r", 8),
        in.integer("tinit", 0),
        in.integer("tfinal", 0),
        in.integer("deltaT", 1),
        in.number("beta1", 0.85),
        in.number("beta2", 0.85),
        in.integerOrNull("total_step"));
  }

  void write(ConfigWriter out) {
    out.put("init_r", initR)
        .put("target_r", targetR)
        .put("tinit", tinit)
        .put("tfinal", tfinal)
        .put("deltaT", deltaT)
        .put("beta1", beta1)
        .put("beta2", beta2);
    if (totalStep == null) {
      out.put("total_step", (String) null);
    } else {
      out.put("total_step", totalStep.intValue());
    }
  }
}
