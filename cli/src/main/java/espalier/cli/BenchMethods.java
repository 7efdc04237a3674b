package espalier.cli;

import espalier.adapters.AdapterConfig;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * The methods as the reference's measurements set them up. A name that ends in {@code _ckpt} is the
 * method with gradient checkpointing.
 */
final class BenchMethods {

  private static final String CHECKPOINTING = "_ckpt";

  /** LoRA whose A is frozen by its optimizer, so that less is kept for backward. */
  private static final String FROZEN_A = "lora_fa";

  private static final Map<String, String> CONFIGS = new LinkedHashMap<>();

  static {
    String lora = "'peft_type': 'LORA', 'r': 16, 'lora_alpha': 32";
    CONFIGS.put("lora", lora);
    CONFIGS.put(FROZEN_A, lora);
    CONFIGS.put("lora_qv", lora + ", 'target_modules': ['q_proj', 'v_proj']");
    CONFIGS.put("dora", lora + ", 'use_dora': true");
    CONFIGS.put("rslora", lora + ", 'use_rslora': true");
    CONFIGS.put("pissa", lora + ", 'init_lora_weights': 'pissa_niter_4'");
    CONFIGS.put("olora", lora + ", 'init_lora_weights': 'olora'");
    CONFIGS.put("hira", "'peft_type': 'HIRA', 'r': 32");
    CONFIGS.put("gralora", "'peft_type': 'GRALORA', 'r': 32, 'alpha': 64, 'gralora_k': 2");
    CONFIGS.put("shira", "'peft_type': 'SHIRA', 'r': 32, 'random_seed': 0");
    CONFIGS.put("abba", "'peft_type': 'ABBA'");
    CONFIGS.put("hira_sb", "'peft_type': 'HIRA_SB'");
    CONFIGS.values().removeIf(fields -> !AdapterCatalog.standard().knows(peftType(fields)));
  }

  /** Methods that the reference does not have. */
  private static final Set<String> OURS = Set.of("abba", "hira_sb", FROZEN_A);

  private BenchMethods() {}

  private static String peftType(String fields) {
    return fields(fields).path("peft_type").asString();
  }

  private static ObjectNode fields(String text) {
    return (ObjectNode) JsonMapper.shared().readTree("{" + text.replace('\'', '"') + "}");
  }

  /** What {@code --methods} takes. */
  static List<String> names() {
    var names = new ArrayList<>(List.of("forward"));
    CONFIGS.keySet().forEach(name -> names.addAll(List.of(name, name + CHECKPOINTING)));
    return names;
  }

  /** Whether the method trains anything. */
  static boolean isAdapter(String method) {
    return CONFIGS.containsKey(plain(method));
  }

  static boolean isCheckpointing(String method) {
    return method.endsWith(CHECKPOINTING);
  }

  /** The same method with gradient checkpointing. */
  static String checkpointing(String method) {
    return plain(method) + CHECKPOINTING;
  }

  /** Whether the optimizer is to be LoRA-FA. */
  static boolean freezesA(String method) {
    return plain(method).equals(FROZEN_A);
  }

  /** Whether the reference can do the same. */
  static boolean isInReference(String method) {
    return !OURS.contains(plain(method));
  }

  private static String plain(String method) {
    return isCheckpointing(method)
        ? method.substring(0, method.length() - CHECKPOINTING.length())
        : method;
  }

  static AdapterConfig config(PretrainedModel model, String method) {
    String text = CONFIGS.get(plain(method));
    if (text == null) {
      throw new IllegalArgumentException(
          "the method %s is not known; known are %s".formatted(method, String.join(", ", names())));
    }
    return config(model, fields(text));
  }

  /** LoRA with another start. */
  static AdapterConfig started(PretrainedModel model, String start) {
    ObjectNode fields = fields(CONFIGS.getOrDefault("lora", ""));
    if (start.equals("default")) {
      return config(model, fields);
    }
    if (start.equals("eva")) {
      fields.putObject("eva_config").put("rho", 2.0);
    } else if (start.equals("corda")) {
      fields.putObject("corda_config").put("corda_method", "kpm");
    }
    return config(model, fields.put("init_lora_weights", start));
  }

  private static AdapterConfig config(PretrainedModel model, ObjectNode fields) {
    if (!fields.has("target_modules")) {
      fields.put("target_modules", "all-linear");
    }
    return model.catalog().read(fields.put("task_type", "CAUSAL_LM")).config();
  }

  /** The model as it is trained by a method. */
  static void put(PretrainedModel model, String method) {
    if (method.equals("forward")) {
      return;
    }
    model.attach("default", config(model, method), 0);
    model.model().gradientCheckpointing(isCheckpointing(method));
  }
}
