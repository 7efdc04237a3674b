package espalier.parity;

import espalier.adapters.NotFiniteException;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Steps of which the last is refused, by an error of the right kind, or, in a few cases, accepted.
 */
final class ErrorCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    List<JsonNode> steps = List.copyOf(golden.get("steps").asArray().values());
    RuntimeException refusal = null;
    try (var stage = new Stage(golden)) {
      for (int i = 0; i < steps.size(); i++) {
        refusal = refusal(stage, steps.get(i));
        if (refusal != null && i < steps.size() - 1) {
          throw new AssertionError(
              "step %d of %d was refused already: %s"
                  .formatted(i + 1, steps.size(), refusal.getMessage()));
        }
      }
    }
    ObjectNode want = golden.json().asObject().deepCopy();
    if (Departures.accepted(golden) != null) {
      want.put("refused", false);
    } else if (Departures.refused(golden) != null) {
      want.put("refused", true);
    }
    if (refusal != null) {
      requireKind(golden, refusal);
    }
    return new Outcome.Values(want, Case.JSON.createObjectNode().put("refused", refusal != null));
  }

  private static void requireKind(Case golden, RuntimeException refusal) {
    Set<ErrorKind> kinds = RefusalKinds.of(golden);
    ErrorKind kind = ErrorKind.of(refusal);
    if (kind == null || !kinds.contains(kind)) {
      throw new AssertionError(
          "the refusal is a %s, which is of the kind %s and not of %s: %s"
              .formatted(refusal.getClass().getSimpleName(), kind, kinds, refusal.getMessage()));
    }
  }

  private static @Nullable RuntimeException refusal(Stage stage, JsonNode step) {
    try {
      stage.play(step);
      return null;
    } catch (IllegalArgumentException | IllegalStateException | NotFiniteException e) {
      return e; // any other exception is a crash and not a refusal; it ends the case
    }
  }
}
