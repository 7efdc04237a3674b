package espalier.parity;

import espalier.adapters.Modules;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Where this library differs from the reference on purpose. What a case expects is changed
 * accordingly, by what the case says and not by its name, and compared all the same.
 */
final class Departures {

  private static final String CORE = "hada_t1";

  private Departures() {}

  /** The tensors that a case expects, or what is right in their place. */
  static Map<String, Tensor> expected(Case golden) {
    Map<String, Tensor> expected =
        golden.kind().equals("convert/loftq")
            ? GarbledFit.corrected(golden)
            : TiedFactors.expected(golden);
    if (golden.kind().equals("model")
        && golden.adapters().values().stream().anyMatch(OverlookedTies::overwritesBase)) {
      expected.remove("disabled_logits");
    }
    expected.keySet().removeIf(Departures::repeatsBias);
    if (golden.kind().equals("combine") && savesModules(golden)) {
      expected.remove("logits"); // here the combination takes over what its one owner trained
    }
    if (golden.kind().equals("layer")
        && expected.keySet().stream().anyMatch(k -> k.endsWith(CORE))) {
      // the reference's backward takes the product of the other core tensor for the first factors
      expected.keySet().removeIf(k -> k.endsWith("hada_w1_a") || k.endsWith("hada_w2_a"));
    }
    return expected;
  }

  /** With {@code bias: all} the reference saves the biases of layers saved whole thrice. */
  static boolean repeatsBias(String key) {
    return key.endsWith(".bias")
        && (key.contains(".modules_to_save.") || key.contains(".original_module."));
  }

  private static boolean savesModules(Case golden) {
    return golden.adapters().values().stream()
        .anyMatch(folder -> !OverlookedTies.config(folder).path("modules_to_save").isEmpty());
  }

  /** Why the library accepts what the reference refuses, or null if it does not. */
  static @Nullable String accepted(Case golden) {
    String method = golden.method();
    JsonNode layer = golden.json().path("layer");
    if (method.equals("lora")
        && layer.path("type").asString("").startsWith("conv")
        && layer.path("dilation").asInt(1) != 1) {
      return "the reference builds the branch of a dilated convolution without dilation";
    }
    CombineDepartures combining = CombineDepartures.of(golden);
    if (combining != null) {
      return combining.accepted();
    }
    if (method.equals("lora")
        && golden.json().has("model")
        && GoldenModel.type(golden.model()).equals("mixtral")
        && givenWithoutTargets(golden)) {
      return "the reference rewrites mixtral's usual targets and then finds none of them";
    }
    return null;
  }

  /** Why the library refuses what the reference accepts, or null if it does not. */
  static @Nullable String refused(Case golden) {
    CombineDepartures combining = CombineDepartures.of(golden);
    if (combining != null) {
      return combining.refused();
    }
    if (mergesUnknown(golden)) {
      return "the reference passes over names of no adapter when it merges";
    }
    for (JsonNode step : golden.get("steps")) {
      if (step.path("config").path("hira_dropout").asDouble(0) < 0) {
        return "the reference takes a negative dropout as none";
      }
    }
    return null;
  }

  /** Whether the last step merges an adapter that is not there. */
  private static boolean mergesUnknown(Case golden) {
    List<JsonNode> steps = List.copyOf(golden.json().path("steps").values());
    if (steps.isEmpty() || !steps.getLast().path("do").asString("").equals("merge")) {
      return false;
    }
    var known = new ArrayList<String>();
    for (JsonNode step : steps) {
      if (step.has("config")) {
        known.add(step.path("adapter").asString("default"));
      }
    }
    JsonNode named = steps.getLast().path("adapters");
    return named.isArray() && !known.containsAll(MixedCase.names(named));
  }

  /**
   * Takes AdaLoRA's rank of each layer out of the count, for the reference keeps it as a parameter
   * of one number, and its scaling, which there is alpha and not what the branch is multiplied by.
   *
   * @param expected what a config case expects; changed where the method is AdaLoRA
   */
  static void rankIsNoParameter(ObjectNode expected) {
    if (!expected.path("given").path("type").asString("").equals("adalora")) {
      return;
    }
    ObjectNode counts = expected.required("parameters").asObject();
    long all = counts.required("all").asLong() - expected.required("targeted_modules").size();
    counts.put("all", all);
    counts.put("percent", ConfigCase.percent(counts.required("trainable").asLong(), all));
    expected.putObject("scaling");
  }

  /**
   * How much stronger the reference's combination is. It inherits {@code use_rslora}, so that its
   * scaling is the root of its rank and not 1.
   */
  static double inheritedScaling(Case golden) {
    JsonNode result = golden.get("result");
    double rank = result.required("r").asDouble();
    double alpha = result.required("lora_alpha").asDouble();
    return result.path("use_rslora").asBoolean(false) ? alpha / Math.sqrt(rank) : alpha / rank;
  }

  /**
   * Takes the zeros away with which factors are filled up to the rank that their config says. The
   * reference leaves factors of a smaller rank as they are, and can not load what it saves then.
   *
   * @param produced by name; some are replaced
   */
  static void withoutPadding(Case golden, Map<String, Tensor> produced) {
    golden
        .expected()
        .forEach(
            (name, want) -> {
              Tensor got = produced.get(name);
              if (got != null && name.startsWith("lora_") && got.dim() == want.dim()) {
                for (long axis = 0; axis < 2; axis++) {
                  long surplus = got.size(axis) - want.size(axis);
                  if (surplus > 0
                      && got.narrow(axis, want.size(axis), surplus).count_nonzero().item_long()
                          == 0) {
                    got = got.narrow(axis, 0, want.size(axis));
                  }
                }
                produced.put(name, got);
              }
            });
  }

  private static boolean givenWithoutTargets(Case golden) {
    JsonNode config = golden.get("steps").path(0).path("config");
    return !config.has("target_modules") && !config.has("target_parameters");
  }

  /**
   * Takes out of what is expected of a config the modules that {@code modules_to_save} only hits by
   * accident: the reference compares ends of texts, so {@code norm} means {@code input_layernorm}
   * too.
   *
   * @param expected the case's expectations, which are changed
   */
  static void wholeNamesOnly(ObjectNode expected) {
    var names = new ArrayList<String>();
    expected.path("given").path("modules_to_save").forEach(name -> names.add(name.asString()));
    for (JsonNode module : List.copyOf(expected.path("wrapped_modules").values())) {
      String path = module.asString();
      boolean accident =
          names.stream().anyMatch(path::endsWith)
              && names.stream().noneMatch(name -> Modules.endsWith(path, name));
      if (accident) {
        remove(expected, path);
      }
    }
  }

  private static void remove(ObjectNode expected, String path) {
    without(expected, "wrapped_modules", path);
    ObjectNode file = expected.required("adapter_file").asObject();
    for (var entry : List.copyOf(file.properties())) {
      String key = entry.getKey();
      if (key.startsWith("base_model.model." + path + ".")) {
        file.remove(key);
        untrained(expected, key, entry.getValue());
      }
    }
  }

  private static void untrained(ObjectNode expected, String key, JsonNode shape) {
    without(expected, "trainable_names", key);
    ObjectNode parameters = expected.required("parameters").asObject();
    long size = 1;
    for (JsonNode length : shape) {
      size *= length.asLong();
    }
    long trainable = parameters.required("trainable").asLong() - size;
    long all = parameters.required("all").asLong() - size;
    parameters
        .put("trainable", trainable)
        .put("all", all)
        .put("percent", ConfigCase.percent(trainable, all));
  }

  /**
   * Says in the expected config that weights are stored as [in, out] if any target's is: the
   * reference has what the last of them set.
   *
   * @param transposed whether the layer at a path stores its weight so
   */
  static void storageOfAnyTarget(ObjectNode expected, Predicate<String> transposed) {
    ObjectNode config = expected.required("adapter_config").asObject();
    if (config.has("fan_in_fan_out")) {
      boolean any = false;
      for (JsonNode path : expected.required("targeted_modules")) {
        any |= transposed.test(path.asString());
      }
      config.put("fan_in_fan_out", any);
    }
  }

  /**
   * Takes out of what is expected of a config the second mention of factors that tied layers share:
   * the reference makes two parameters on one storage, steps both, and counts both.
   *
   * @param expected the expectations of a case whose model has tied weights, which are changed; its
   *     file still has both
   */
  static void tiedCountOnce(ObjectNode expected) {
    if (!expected.path("given").path("ensure_weight_tying").asBoolean(false)) {
      return;
    }
    JsonNode file = expected.required("adapter_file");
    for (var embedding : file.properties()) {
      String suffix = ".lora_embedding_A";
      if (!embedding.getKey().endsWith(suffix)) {
        continue;
      }
      JsonNode a = embedding.getValue();
      JsonNode b = file.required(embedding.getKey().replace(suffix, ".lora_embedding_B"));
      for (var head : file.properties()) {
        JsonNode other = head.getKey().endsWith(".lora_A.weight") ? b : a;
        boolean factor =
            head.getKey().endsWith(".lora_A.weight") || head.getKey().endsWith(".lora_B.weight");
        String mate = head.getKey().replaceFirst("lora_[AB]\\.weight$", "lora_B.weight");
        if (factor && transposed(head.getValue(), other) && transposed(file.required(mate), a)) {
          untrained(expected, head.getKey(), head.getValue());
        }
      }
    }
  }

  private static boolean transposed(JsonNode one, JsonNode two) {
    return one.get(0).equals(two.get(1)) && one.get(1).equals(two.get(0));
  }

  private static void without(ObjectNode expected, String field, String text) {
    ArrayNode left = expected.putArray(field + "_left");
    expected
        .required(field)
        .forEach(
            value -> {
              if (!value.asString().equals(text)) {
                left.add(value);
              }
            });
    expected.set(field, expected.remove(field + "_left"));
  }
}
