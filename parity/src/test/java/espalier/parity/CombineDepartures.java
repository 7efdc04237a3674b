package espalier.parity;

import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * Where combining adapters is refused, or not, other than by the reference. Only the last step of a
 * case counts: those before it must go through.
 *
 * @param args the arguments of the combination
 * @param configs of the adapters that are there, by name
 * @param layer the kind of the single layer, or empty for a whole model
 */
record CombineDepartures(JsonNode args, Map<String, JsonNode> configs, String layer) {

  private static final Set<String> DRIVERS = Set.of("gesvd", "gesvdj", "gesvda");

  /** Settings of sources that the reference leaves out of the combination without a word. */
  private static final List<String> SPECIAL =
      List.of(
          "use_dora",
          "kasa_config",
          "alora_invocation_tokens",
          "use_qalora",
          "use_bdlora",
          "velora_config",
          "monteclora_config",
          "arrow_config",
          "trainable_token_indices");

  /** Of a case whose last step combines, or null. */
  static @Nullable CombineDepartures of(Case golden) {
    List<JsonNode> steps = List.copyOf(golden.json().path("steps").values());
    if (steps.isEmpty() || !steps.getLast().path("do").asString("").equals("combine")) {
      return null;
    }
    var configs = new LinkedHashMap<String, JsonNode>();
    for (JsonNode step : steps) {
      if (step.has("config") && !step.path("do").asString("").equals("config")) {
        configs.put(step.path("adapter").asString("default"), step.required("config"));
      }
    }
    return new CombineDepartures(
        steps.getLast().path("args"),
        configs,
        golden.json().path("layer").path("type").asString(""));
  }

  /** Why the library refuses what the reference accepts, or null if it does not. */
  @Nullable String refused() {
    if (configs.containsKey(args.path("adapter_name").asString(""))) {
      return "the reference does nothing where the new name is taken, and says nothing";
    }
    if (args.path("weights").size() != args.path("adapters").size()) {
      return "the reference leaves out adapters without a weight and says nothing";
    }
    for (String name : sources()) {
      JsonNode config = configs.get(name);
      for (String field : SPECIAL) {
        if (config != null && isSet(config.path(field))) {
          return "the reference combines %s as if it were plain LoRA".formatted(field);
        }
      }
      if (config != null && !config.path("bias").asString("none").equals("none")) {
        return "the reference forgets trained biases";
      }
    }
    double density = args.path("density").asDouble(1);
    if (type().startsWith("dare") && density == 0) {
      return "the reference divides by a density of 0";
    }
    boolean prunes = !Set.of("linear", "cat", "svd").contains(type());
    if (!prunes && density < 0) {
      return "the reference looks at density only where it prunes";
    }
    Set<String> majorities = Set.of("total", "frequency");
    if (!type().contains("ties")
        && !majorities.contains(args.path("majority_sign_method").asString("total"))) {
      return "the reference looks at majority_sign_method only where signs are elected";
    }
    return wrongDecomposition();
  }

  private @Nullable String wrongDecomposition() {
    int rank = args.path("svd_rank").asInt(1);
    if (rank == 0 || (rank < 0 && !decomposes())) {
      return "the reference takes svd_rank 0 as none, and looks at it only where it decomposes";
    }
    double clamp = args.path("svd_clamp").asDouble(0);
    String driver = args.path("svd_driver").asString("gesvd");
    if (!decomposes() && (!(clamp >= 0 && clamp <= 1) || !DRIVERS.contains(driver))) {
      return "the reference looks at settings of the decomposition only where it decomposes";
    }
    return null;
  }

  /** Why the library accepts what the reference refuses, or null if it does not. */
  @Nullable String accepted() {
    boolean sound = refused() == null && configs.keySet().containsAll(sources());
    if (!sound || !decomposes()) {
      return null;
    }
    if (DRIVERS.contains(args.path("svd_driver").asString(""))) {
      return "the reference hands svd_driver to a decomposition that has none on a CPU";
    }
    if (layer.equals("conv1d") || layer.equals("conv3d")) {
      return "the reference decomposes matrices and updates of Conv2d only";
    }
    if (layer.equals("conv2d") && args.hasNonNull("svd_rank")) {
      return "the reference can not fill up factors of a convolution to a large svd_rank";
    }
    return null;
  }

  private Set<String> sources() {
    return new HashSet<>(MixedCase.names(args.path("adapters")));
  }

  /** The type that is carried out: one source alone is only scaled. */
  private String type() {
    return args.path("adapters").size() == 1
        ? "linear"
        : args.path("combination_type").asString("svd");
  }

  private boolean decomposes() {
    return type().endsWith("svd");
  }

  private static boolean isSet(JsonNode value) {
    return !value.isMissingNode() && !value.isNull() && !(value.isBoolean() && !value.asBoolean());
  }
}
