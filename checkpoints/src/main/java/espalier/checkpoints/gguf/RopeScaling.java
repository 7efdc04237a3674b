package espalier.checkpoints.gguf;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** How a file stretches its rotary positions, as the {@code rope_scaling} of a config says it. */
final class RopeScaling {

  private RopeScaling() {}

  /**
   * The {@code rope_scaling} that the keys below {@code rope} describe.
   *
   * @return null for none
   */
  static @Nullable Map<String, Object> read(Settings settings) {
    settings.harmless("rope.scaling.finetuned", "rope.scale_linear");
    settings.only("rope.scaling.attn_factor", 1);
    settings.only("rope.scaling.alpha", 0);
    settings.only("rope.scaling.yarn_log_multiplier", 0);
    settings.only("rope.scaling.yarn_ext_factor", 1);
    double factor = settings.number("rope.scaling.factor", settings.number("rope.scale_linear", 0));
    String type = settings.text("rope.scaling.type").orElse("linear");
    Map<String, Object> scaling =
        switch (type) {
          case "none" -> null;
          case "linear" -> factor == 0 || factor == 1 ? null : linear(settings, factor);
          case "yarn" -> yarn(settings, factor);
          default ->
              throw settings.refused(
                  "rope.scaling.type",
                  "is %s but none, linear and yarn are honoured".formatted(type));
        };
    if (!type.equals("yarn")) {
      // says where positions were stretched from, which the other kinds do not need
      settings.harmless("rope.scaling.original_context_length");
    }
    return scaling;
  }

  private static Map<String, Object> linear(Settings settings, double factor) {
    if (!(factor > 0)) {
      throw settings.refused("rope.scaling.factor", "is %s but must be above 0".formatted(factor));
    }
    Map<String, Object> scaling = new LinkedHashMap<>();
    scaling.put("rope_type", "linear");
    scaling.put("factor", factor);
    return scaling;
  }

  private static Map<String, Object> yarn(Settings settings, double factor) {
    if (!(factor >= 1)) {
      throw settings.refused(
          "rope.scaling.factor", "is %s but must be 1 or more for yarn".formatted(factor));
    }
    Map<String, Object> scaling = new LinkedHashMap<>();
    scaling.put("rope_type", "yarn");
    scaling.put("factor", factor);
    scaling.put(
        "original_max_position_embeddings",
        settings.integer(
            "rope.scaling.original_context_length", settings.integer("context_length")));
    optional(settings, "rope.scaling.yarn_attn_factor", scaling, "attention_factor");
    optional(settings, "rope.scaling.yarn_beta_fast", scaling, "beta_fast");
    optional(settings, "rope.scaling.yarn_beta_slow", scaling, "beta_slow");
    return scaling;
  }

  private static void optional(
      Settings settings, String from, Map<String, Object> scaling, String to) {
    if (settings.has(from)) {
      scaling.put(to, settings.number(from));
    }
  }
}
