package espalier.parity;

import tools.jackson.databind.JsonNode;

/** How one tensor is compared. */
sealed interface Rule {

  /** Number by number. */
  record Value() implements Rule {}

  /** Each slice along an axis may be flipped as a whole, as singular vectors may. */
  record Sign(long axis) implements Rule {}

  /**
   * The numbers come from the generator that the case seeds. Adapters draw in the reference's
   * order, so they are compared number by number all the same.
   */
  record Seeded() implements Rule {}

  /** Not compared. */
  record Uncompared() implements Rule {}

  /** The rule for {@code tensor}: the first pattern under {@code check} that matches it. */
  static Rule in(JsonNode caseJson, String tensor) {
    for (var entry : caseJson.path("check").properties()) {
      if (ShellPattern.matches(entry.getKey(), tensor)) {
        return of(entry.getValue());
      }
    }
    return tensor.startsWith("info.") ? new Uncompared() : new Value();
  }

  private static Rule of(JsonNode json) {
    String mode = json.required("mode").asString();
    return switch (mode) {
      case "value" -> new Value();
      case "sign" -> new Sign(json.required("axis").asLong());
      case "seeded" -> new Seeded();
      case "info" -> new Uncompared();
      default ->
          throw new AssertionError(
              "the check mode %s is not known; known are value, sign, seeded and info"
                  .formatted(mode));
    };
  }
}
