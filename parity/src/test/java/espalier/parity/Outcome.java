package espalier.parity;

import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** What carrying out a case produced, to be compared with what it expects. */
sealed interface Outcome {

  /** Tensors by the names of {@code expected.safetensors}. */
  record Tensors(Map<String, Tensor> byName) implements Outcome {}

  /**
   * Plain values by the names of {@code case.json}.
   *
   * @param expected what the case expects, which may be more than {@code case.json} itself says
   */
  record Values(JsonNode expected, ObjectNode byName) implements Outcome {}
}
