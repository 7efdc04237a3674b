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
    this.layer = layer;
    scaling = config.scalingAt(path);
    LoraFactors factors = LoraStart.of(config, layer, path, init);
    a = parameter("lora_embedding_A", factors.a());
    b =
        factors.frozenB()
            ? constant("lora_embedding_B", factors.b())
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
    Tensor branch = layer.lookup(ids, a.t()).matmul(b.t());
    return y.add(times(branch, scaling() * layer.outputScale())).to(y.scalar_type().intern());
  }

  @Override
  public Tensor deltaWeight() {
    return times(wide(a).t().matmul(wide(b).t()), scaling());
  }
}
