package espalier.adapters.lora;

import espalier.adapters.Modules;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the layers of experts were called in one kind of model before they became stacked
 * parameters.
 *
 * @param parts today's parameter and the layers that it came from, in the order of its rows
 */
record ExpertNames(Map<String, List<String>> parts) {

  /** The parameter that sends tokens to experts; it was a layer called gate. */
  static final String ROUTER = "gate.weight";

  static final ExpertNames MIXTRAL = names(List.of("w1", "w3"), List.of("w2"));

  static final ExpertNames QWEN = names(List.of("gate_proj", "up_proj"), List.of("down_proj"));

  private static final Map<String, ExpertNames> BY_TYPE =
      Map.of("mixtral", MIXTRAL, "qwen2_moe", QWEN, "qwen3_moe", QWEN);

  private static ExpertNames names(List<String> gateUp, List<String> down) {
    var parts = new LinkedHashMap<String, List<String>>();
    parts.put(ROUTER, List.of("gate"));
    parts.put("gate_up_proj", gateUp);
    parts.put("down_proj", down);
    return new ExpertNames(parts);
  }

  /** The names of a kind of model, or null if it never had other ones. */
  static @Nullable ExpertNames of(String modelType) {
    return BY_TYPE.get(modelType);
  }

  /** Today's parameter for a name of {@code target_modules}, or the empty string. */
  String parameter(String target) {
    for (var part : parts.entrySet()) {
      if (part.getValue().stream().anyMatch(name -> Modules.endsWith(target, name))) {
        return part.getKey();
      }
    }
    return "";
  }
}
