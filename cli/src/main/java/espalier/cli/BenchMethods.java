package espalier.cli;

import espalier.adapters.AdapterConfig;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.node.ObjectNode;

/** The methods as the reference's measurements set them up. */
final class BenchMethods {

  private static final Map<String, String> CONFIGS =
      Map.of(
          "lora", "{'peft_type': 'LORA', 'r': 16, 'lora_alpha': 32}",
          "lora_ckpt", "{'peft_type': 'LORA', 'r': 16, 'lora_alpha': 32}",
          "hira", "{'peft_type': 'HIRA', 'r': 32}");

  static final List<String> NAMES = List.of("forward", "lora", "lora_ckpt", "hira");

  private BenchMethods() {}

  /** Whether the method trains anything. */
  static boolean isAdapter(String method) {
    return CONFIGS.containsKey(method);
  }

  static AdapterConfig config(PretrainedModel model, String method) {
    String text = CONFIGS.get(method);
    if (text == null) {
      throw new IllegalArgumentException(
          "the method %s is not known; known are %s".formatted(method, String.join(", ", NAMES)));
    }
    var fields =
        (ObjectNode)
            tools.jackson.databind.json.JsonMapper.shared().readTree(text.replace('\'', '"'));
    fields.put("target_modules", "all-linear").put("task_type", "CAUSAL_LM");
    return model.catalog().read(fields).config();
  }

  /** The model as it is trained by a method. */
  static void put(PretrainedModel model, String method) {
    if (method.equals("forward")) {
      return;
    }
    model.attach("default", config(model, method), 0);
    model.model().gradientCheckpointing(method.equals("lora_ckpt"));
  }
}
