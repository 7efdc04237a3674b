package espalier.adapters;

import espalier.nn.Layer;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** Where adapters lie: always where their base does. */
final class Devices {

  private static final String CPU = "cpu";

  private Devices() {}

  /**
   * Checks where an adapter is asked to lie.
   *
   * @return warnings
   * @throws ConfigException if that is not where the base lies
   */
  static List<String> check(Layer model, LoadOptions options) {
    Map<String, Tensor> parameters = model.namedParameters();
    String base =
        parameters.isEmpty()
            ? CPU
            : parameters.values().iterator().next().device().str().getString();
    String asked = options.device();
    if (asked != null && !asked.equals(base)) {
      throw new ConfigException(
          "device is %s but the base lies on %s, and an adapter lies where its base does; leave device out%s"
              .formatted(
                  asked,
                  base,
                  base.equals(CPU) ? " (this build computes on the CPU)" : ", or move the base"));
    }
    return options.ephemeralOffload() && base.equals(CPU)
        ? List.of("ephemeralOffload has no effect because all of the model lies on the CPU")
        : List.of();
  }
}
