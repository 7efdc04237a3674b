package espalier.parity;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/**
 * Factors that an output head shares with the embedding whose weight it has. The reference makes
 * two parameters on one storage, each with the gradient of its side, and an optimizer steps both.
 * Here it is one parameter with the gradient of both sides, so that a step is made once. Gradients
 * are compared as sums, and training up to its first step.
 */
final class TiedFactors {

  private TiedFactors() {}

  /** What a case expects, as one parameter for both sides has it. */
  static Map<String, Tensor> expected(Case golden) {
    Map<String, Tensor> expected = golden.expected();
    Map<String, String> pairs = pairs(golden);
    if (pairs.isEmpty()) {
      return expected;
    }
    pairs.forEach(
        (head, embedding) -> {
          Tensor ofHead = expected.remove("grad." + head);
          if (ofHead != null) {
            expected.computeIfPresent("grad." + embedding, (_, g) -> g.add(ofHead.t()));
          }
        });
    if (expected.containsKey("losses")) {
      expected.computeIfPresent("losses", (_, all) -> all.narrow(0, 0, 1));
      expected.keySet().removeIf(name -> name.startsWith("after.") || name.equals("grad_norms"));
    }
    return expected;
  }

  /** How many losses of a training case can be compared. */
  static int comparableSteps(Case golden) {
    return pairs(golden).isEmpty() ? golden.get("steps").asInt() : 1;
  }

  /** The keys of a head's factors with those of the embedding's that hold the same, transposed. */
  private static Map<String, String> pairs(Case golden) {
    var pairs = new LinkedHashMap<String, String>();
    if (!golden.json().has("adapter")) {
      return pairs;
    }
    for (Path folder : golden.adapters().values()) {
      JsonNode config = Case.JSON.readTree(folder.resolve("adapter_config.json"));
      if (config.path("ensure_weight_tying").asBoolean(false)) {
        Map<String, Tensor> saved = Case.read(folder.resolve("adapter_model.safetensors"));
        saved.keySet().stream()
            .filter(key -> key.contains(".lora_embedding_"))
            .forEach(
                embedding ->
                    saved.keySet().stream()
                        .filter(key -> key.endsWith(".lora_A.weight") || key.endsWith("_B.weight"))
                        .filter(key -> same(saved, key, embedding))
                        .forEach(head -> pairs.put(head, embedding)));
      }
    }
    return pairs;
  }

  private static boolean same(Map<String, Tensor> saved, String headKey, String embeddingKey) {
    Tensor head = Objects.requireNonNull(saved.get(headKey));
    Tensor embedding = Objects.requireNonNull(saved.get(embeddingKey));
    return head.size(0) == embedding.size(1)
        && head.size(1) == embedding.size(0)
        && head.t().equal(embedding);
  }
}
