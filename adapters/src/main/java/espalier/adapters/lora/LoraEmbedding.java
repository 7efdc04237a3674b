package espalier.adapters.lora;

import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;

/** LoRA on an embedding: the row of token t gains s·B·A[:, t]. Dropout has no place here. */
public class LoraEmbedding extends Adapter {

  private final Embedding layer;
  private double scaling;
  private final Tensor a; // [r, V]
  private final Tensor b; // [D, r]

  LoraEmbedding(LoraConfig config, Embedding layer, String path, Init init) {
    this(config, layer, path, LoraStart.of(config, layer, path, init));
  }

  LoraEmbedding(LoraConfig config, Embedding layer, String path, LoraFactors factors) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    a = parameter("lora_embedding_A", factors.a());
    b =
        factors.frozenB()
            ? frozen("lora_embedding_B", factors.b())
            : parameter("lora_embedding_B", factors.b());
  }

  @Override
  public final Embedding layer() {
    return layer;
  }

  /** The factor on B·A. */
  public final double scaling() {
    return scaling * scale();
  }

  /** The factor on B·A without the runtime scale. */
  double configuredScaling() {
    return scaling;
  }

  void rescale(double factor) {
    scaling = factor;
  }

  /** A [r, V]. */
  final Tensor a() {
    return a;
  }

  /** B [D, r]. */
  final Tensor b() {
    return b;
  }

  @Override
  public Tensor forward(Tensor ids, Tensor y) {
    return plus(y, branch(layer, ids, a, b), layer, scaling());
  }

  /** Adds what a branch gives, [..., D], to the output of a layer so far. */
  static Tensor plus(Tensor y, Tensor branch, Embedding layer, double scaling) {
    return y.add(times(branch, scaling * layer.outputScale())).to(y.scalar_type().intern());
  }

  /**
   * What factors make of tokens. The rows of Aᵀ are looked up as the layer's own are: with its
   * padding row, and none longer than its largest norm.
   *
   * @param ids [...]
   * @param a [r, V]
   * @param b [D, r]
   * @return [..., D]
   */
  static Tensor branch(Embedding layer, Tensor ids, Tensor a, Tensor b) {
    return layer.limited(layer.lookup(ids, a.t())).matmul(b.t());
  }

  @Override
  public Tensor deltaWeight() {
    return delta(layer, a, b, scaling());
  }

  /** What factors add to the table of a layer, [V, D], float32 unless they are wider. */
  static Tensor delta(Embedding layer, Tensor a, Tensor b, double scaling) {
    return times(layer.limited(wide(a).t()).matmul(wide(b).t()), scaling);
  }
}
