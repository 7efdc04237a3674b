package espalier.adapters.combine;

import espalier.adapters.AdapterFormat;
import espalier.adapters.StateMismatchException;
import espalier.nn.Adapter;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a LoRA adapter by layer.
 *
 * @param layers by path
 * @param others what is no tensor of LoRA, by its key without {@code base_model.model.}
 */
record LoraTensors(Map<String, OnLayer> layers, Map<String, Tensor> others) {

  private static final String A = "lora_A.weight";
  private static final String B = "lora_B.weight";
  private static final String BIAS = "lora_B.bias";
  private static final String EMBEDDING_A = "lora_embedding_A";
  private static final String EMBEDDING_B = "lora_embedding_B";

  /**
   * What one layer has, as a file stores it.
   *
   * @param a [r, in], [r, in, k...] of a convolution, [r, V] of an embedding
   * @param b [out, r], [out, r / groups, 1...], [D, r]
   * @param bias [out], or null
   */
  record OnLayer(Tensor a, Tensor b, @Nullable Tensor bias, boolean embedding) {

    long rank() {
      return a.size(0);
    }

    /** Groups of a convolution; 1 for all else. */
    long groups() {
      return Math.max(1, a.size(0) / Math.max(1, b.size(1)));
    }

    Share share(int number, String adapter, double scaling, double weight) {
      return new Share(number, adapter, grouped(a), grouped(b), scaling, weight);
    }

    private Tensor grouped(Tensor factor) {
      long rows = factor.size(0) / groups();
      return factor.detach().reshape(groups(), rows, -1);
    }

    /** Other factors in the layout of these, in the dtype of this A. */
    OnLayer with(Factors factors, @Nullable Tensor newBias) {
      ScalarType dtype = a.scalar_type().intern();
      long rank = factors.a().size(1) * groups();
      long[] shapeOfA = a.shape();
      shapeOfA[0] = rank;
      long[] shapeOfB = b.shape();
      shapeOfB[1] = rank / groups();
      return new OnLayer(
          factors.a().to(dtype).reshape(shapeOfA),
          factors.b().to(dtype).reshape(shapeOfB),
          newBias == null ? null : newBias.to(dtype),
          embedding);
    }

    /** These tensors by their keys in a file. */
    Map<String, Tensor> named(String path) {
      var named = new LinkedHashMap<String, Tensor>();
      String key = AdapterFormat.KEY_PREFIX + path + ".";
      named.put(key + (embedding ? EMBEDDING_A : A), a);
      named.put(key + (embedding ? EMBEDDING_B : B), b);
      if (bias != null) {
        named.put(key + BIAS, bias);
      }
      return named;
    }

    /**
     * What a layer has that shares its weight, and with it the factors, with this embedding.
     *
     * @param asEmbedding whether it is an embedding too, and no output head
     */
    OnLayer following(boolean asEmbedding) {
      return asEmbedding ? this : new OnLayer(b.t().contiguous(), a.t().contiguous(), null, false);
    }

    boolean sameFactors(OnLayer other) {
      return bias == null
          && other.bias == null
          && sameShapes(other)
          && a.equal(other.a)
          && b.equal(other.b);
    }

    boolean sameShapes(OnLayer other) {
      return Arrays.equals(a.shape(), other.a.shape()) && Arrays.equals(b.shape(), other.b.shape());
    }

    /** Whether both are for the same layer of the same model, whatever their ranks. */
    boolean sameLayer(OnLayer other) {
      long[] mine = a.shape();
      long[] theirs = other.a.shape();
      mine[0] = 0;
      theirs[0] = 0;
      return embedding == other.embedding
          && Arrays.equals(mine, theirs)
          && b.size(0) == other.b.size(0)
          && groups() == other.groups();
    }
  }

  /**
   * Sorts the tensors of a file.
   *
   * @param adapter what messages call it
   * @throws StateMismatchException if a layer has one factor and not the other
   */
  static LoraTensors of(String adapter, Map<String, Tensor> tensors) {
    var layers = new LinkedHashMap<String, Map<String, Tensor>>();
    var others = new LinkedHashMap<String, Tensor>();
    tensors.forEach(
        (given, tensor) -> {
          String key =
              given.startsWith(AdapterFormat.KEY_PREFIX)
                  ? given.substring(AdapterFormat.KEY_PREFIX.length())
                  : given;
          String name = ending(key);
          if (name == null) {
            others.put(key, tensor);
          } else {
            String path = key.substring(0, Math.max(0, key.length() - name.length() - 1));
            layers.computeIfAbsent(path, _ -> new LinkedHashMap<>()).put(name, tensor);
          }
        });
    var sorted = new LinkedHashMap<String, OnLayer>();
    layers.forEach((path, named) -> sorted.put(path, onLayer(adapter, path, named)));
    return new LoraTensors(sorted, others);
  }

  private static @Nullable String ending(String key) {
    for (String name : new String[] {A, B, BIAS, EMBEDDING_A, EMBEDDING_B}) {
      if (key.endsWith(name)
          && (key.length() == name.length()
              || key.charAt(key.length() - name.length() - 1) == '.')) {
        return name;
      }
    }
    return null;
  }

  private static OnLayer onLayer(String adapter, String path, Map<String, Tensor> named) {
    boolean embedding = named.containsKey(EMBEDDING_A) || named.containsKey(EMBEDDING_B);
    Tensor a = named.get(embedding ? EMBEDDING_A : A);
    Tensor b = named.get(embedding ? EMBEDDING_B : B);
    Supplier<StateMismatchException> half =
        () ->
            new StateMismatchException(
                "%s has %s of %s but LoRA has A and B of each layer, with as many rows as the other has columns; the file is damaged or of another method"
                    .formatted(adapter, named.keySet(), path));
    if (a == null || b == null || a.dim() < 2 || b.dim() != a.dim()) {
      throw half.get();
    }
    var onLayer = new OnLayer(a, b, named.get(BIAS), embedding);
    if (b.size(1) == 0 || a.size(0) % b.size(1) != 0 || b.size(0) % onLayer.groups() != 0) {
      throw half.get();
    }
    return onLayer;
  }

  /** The factors of one adapter of a model, which stay its own. */
  static OnLayer of(String path, Adapter adapter) {
    var state = new LinkedHashMap<>(adapter.state());
    state.keySet().removeIf(name -> ending(name) == null);
    return onLayer("the adapter", path, state);
  }

  OnLayer on(String path) {
    return Objects.requireNonNull(layers.get(path), path);
  }
}
