package espalier.parity;

import espalier.adapters.NotFiniteException;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** Steps of which the last is refused, or, in a few cases, accepted. */
final class ErrorCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    List<JsonNode> steps = List.copyOf(golden.get("steps").asArray().values());
    boolean refused = false;
    try (var stage = new Stage(golden)) {
      for (int i = 0; i < steps.size(); i++) {
        String why = refusal(stage, steps.get(i));
        if (why != null && i < steps.size() - 1) {
          throw new AssertionError(
              "step %d of %d was refused already: %s".formatted(i + 1, steps.size(), why));
        }
        refused = why != null;
      }
    }
    ObjectNode want = golden.json().asObject().deepCopy();
    if (Departures.accepted(golden) != null) {
      want.put("refused", false);
    } else if (Departures.refused(golden) != null) {
      want.put("refused", true);
    }
    return new Outcome.Values(want, Case.JSON.createObjectNode().put("refused", refused));
  }

  /** The message of the exception that refused the step, or null. */
  private static @Nullable String refusal(Stage stage, JsonNode step) {
    try {
      stage.play(step);
      return null;
    } catch (IllegalArgumentException | IllegalStateException | NotFiniteException e) {
      // any other exception is a crash and not a refusal; it ends the case
      return String.valueOf(e.getMessage());
    }
  }
}
