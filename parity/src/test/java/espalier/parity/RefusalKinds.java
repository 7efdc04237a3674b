package espalier.parity;

import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import tools.jackson.databind.JsonNode;

/**
 * Which kinds of error may refuse the last step of a case. The reference's own classes say little,
 * nearly all are {@code ValueError}, so what is refused decides, and they only narrow it down.
 */
final class RefusalKinds {

  private static final Set<ErrorKind> AT_ATTACHING =
      EnumSet.of(
          ErrorKind.CONFIG,
          ErrorKind.TARGET,
          ErrorKind.ADAPTER,
          ErrorKind.STATE,
          ErrorKind.UNSUPPORTED);

  private RefusalKinds() {}

  /** The kinds that tell of the mistake that the case makes. */
  static Set<ErrorKind> of(Case golden) {
    List<JsonNode> steps = List.copyOf(golden.get("steps").values());
    JsonNode last = steps.getLast();
    String reference = golden.json().path("error").asString("");
    return switch (last.path("do").asString("")) {
      case "config" -> EnumSet.of(ErrorKind.CONFIG);
      case "create" -> attaching(reference, last.path("config"));
      case "add" ->
          together(steps, last.path("config"))
              ? EnumSet.of(ErrorKind.ADAPTER)
              : attaching(reference, last.path("config"));
      case "set_adapter" -> EnumSet.of(ErrorKind.ADAPTER);
      case "combine" -> EnumSet.of(ErrorKind.CONFIG, ErrorKind.ADAPTER, ErrorKind.UNSUPPORTED);
      case "merge", "merge_and_unload" -> merging(reference, last, does(steps, "break"));
      case "forward" -> rows(last, does(steps, "merge"));
      default -> EnumSet.allOf(ErrorKind.class);
    };
  }

  private static boolean does(List<JsonNode> steps, String what) {
    return steps.stream().anyMatch(step -> step.path("do").asString("").equals(what));
  }

  /** What does not exist is another class there than what is wrong, but for words of the config. */
  private static Set<ErrorKind> attaching(String reference, JsonNode config) {
    if (reference.equals("TypeError")) {
      return config.hasNonNull("trainable_token_indices")
          ? EnumSet.of(ErrorKind.CONFIG, ErrorKind.UNSUPPORTED)
          : EnumSet.of(ErrorKind.UNSUPPORTED);
    }
    if (reference.equals("NotImplementedError")) {
      String bias = config.path("bias").asString("none");
      boolean word = !Set.of("none", "all").contains(bias) && !bias.endsWith("_only");
      return EnumSet.of(word ? ErrorKind.CONFIG : ErrorKind.UNSUPPORTED);
    }
    return AT_ATTACHING;
  }

  /** Whether an adapter can not be beside one of those before it, whatever it is by itself. */
  private static boolean together(List<JsonNode> steps, JsonNode added) {
    return steps.stream()
        .limit(steps.size() - 1L)
        .map(step -> step.path("config"))
        .anyMatch(
            other ->
                !other.path("type").equals(added.path("type"))
                    || (other.hasNonNull("target_parameters")
                        && added.hasNonNull("target_parameters"))
                    || (trainsBiases(other) && trainsBiases(added)));
  }

  private static boolean trainsBiases(JsonNode config) {
    return !config.path("bias").asString("none").equals("none");
  }

  private static Set<ErrorKind> merging(String reference, JsonNode step, boolean broken) {
    if (step.has("adapters") && reference.isEmpty()) { // names of no adapter, which it passes over
      return EnumSet.of(ErrorKind.ADAPTER);
    }
    return switch (reference) {
      case "NotImplementedError" -> EnumSet.of(ErrorKind.UNSUPPORTED);
      case "RuntimeError" -> EnumSet.of(ErrorKind.STATE);
      default ->
          broken && step.path("safe").asBoolean(false)
              ? EnumSet.of(ErrorKind.NUMERIC)
              : EnumSet.of(ErrorKind.UNSUPPORTED, ErrorKind.STATE);
    };
  }

  private static Set<ErrorKind> rows(JsonNode step, boolean merged) {
    JsonNode names = step.path("adapter_names");
    if (merged || step.path("train").asBoolean(false)) {
      return EnumSet.of(ErrorKind.STATE);
    }
    if (names.isArray() && names.size() != step.path("batch").asInt(3)) {
      return EnumSet.of(ErrorKind.CONFIG);
    }
    return EnumSet.of(ErrorKind.ADAPTER, ErrorKind.UNSUPPORTED);
  }
}
