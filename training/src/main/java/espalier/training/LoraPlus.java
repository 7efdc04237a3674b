package espalier.training;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.bytedeco.pytorch.Tensor;

/**
 * The parameter groups of LoRA+: B learns faster than A, for which the paper finds a ratio near 16.
 * They go to any optimizer that takes groups.
 *
 * <p>A group is told by the parameter's key in the adapter's file. Vectors, such as trained biases
 * and magnitudes, learn at the rate of B; but all that LoRA trains on an embedding is of one group.
 *
 * @param learningRate of A and of all that has no other group, above or equal 0
 * @param ratio of the learning rate of B to it, above or equal 0; below 1 B learns slower
 * @param embeddingRate of the factors of embeddings, above or equal 0
 * @param weightDecay decoupled, above or equal 0; biases and normalisations never decay
 * @see <a href="https://arxiv.org/abs/2402.12354">LoRA+: Efficient Low Rank Adaptation</a>
 */
public record LoraPlus(
    double learningRate, double ratio, double embeddingRate, double weightDecay) {

  /** The ratio that the paper recommends. */
  public static final double RATIO = 16;

  /** The rate of embeddings where none is asked for. */
  public static final double EMBEDDING_RATE = 1e-6;

  private static final String LORA = "lora_";

  // A whole segment of the path that ends like norm, input_layernorm, ln_1 or LayerNorm.
  private static final Pattern NORMALISATION =
      Pattern.compile("(?i)(^|\\.)([^.]*norm[^.]*|ln_[^.]*)\\.");

  /** Checks the ratio; the rates and the decay are checked by the groups. */
  public LoraPlus {
    if (!(ratio >= 0 && Double.isFinite(ratio))) {
      throw new IllegalArgumentException(
          "the ratio of learning rates is %s but must be finite and not negative; 16 is usual"
              .formatted(ratio));
    }
  }

  /** What a person should know: a sentence each. */
  public List<String> warnings() {
    return ratio < 1
        ? List.of(
            "the ratio of learning rates is %s, so B learns slower than A; the method wants it above 1, and 16 is usual"
                .formatted(ratio))
        : List.of();
  }

  /**
   * The groups A, embedding, B, and B without decay, in this order; those without a member are left
   * out.
   *
   * @param parameters trained tensors by their key in the adapter's file
   */
  public List<ParameterGroup> groups(Map<String, Tensor> parameters) {
    Set<String> embeddings = embeddings(parameters.keySet());
    var groups = new ArrayList<ParameterGroup>();
    for (Kind kind : Kind.values()) {
      var members = new LinkedHashMap<String, Tensor>();
      parameters.forEach(
          (key, p) -> {
            if (Kind.of(key, p, embeddings) == kind) {
              members.put(key, p);
            }
          });
      if (!members.isEmpty()) {
        groups.add(new ParameterGroup(kind.label, members, rate(kind), decay(kind)));
      }
    }
    return List.copyOf(groups);
  }

  /** What the keys of LoRA on embeddings begin with, up to the name of the tensor. */
  private static Set<String> embeddings(Set<String> keys) {
    var prefixes = new HashSet<String>();
    for (String key : keys) {
      int at = key.indexOf(LORA + "embedding_");
      if (at >= 0) {
        prefixes.add(key.substring(0, at) + LORA);
      }
    }
    return prefixes;
  }

  private double rate(Kind kind) {
    return switch (kind) {
      case A -> learningRate;
      case EMBEDDING -> embeddingRate;
      case B, B_NO_DECAY -> learningRate * ratio;
    };
  }

  private double decay(Kind kind) {
    return kind == Kind.B_NO_DECAY ? 0 : weightDecay;
  }

  private enum Kind {
    A("A"),
    EMBEDDING("embedding"),
    B("B"),
    B_NO_DECAY("B without decay");

    final String label;

    Kind(String label) {
      this.label = label;
    }

    static Kind of(String key, Tensor p, Set<String> embeddings) {
      int lora = key.indexOf(LORA);
      if (lora >= 0 && embeddings.contains(key.substring(0, lora + LORA.length()))) {
        return EMBEDDING;
      }
      if (!key.contains("lora_B") && p.dim() != 1) {
        return A;
      }
      return key.contains("bias") || NORMALISATION.matcher(key).find() ? B_NO_DECAY : B;
    }
  }
}
