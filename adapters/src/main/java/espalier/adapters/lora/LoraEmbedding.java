package espalier.adapters.lora;

import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;

/** LoRA on an embedding: the row of token t gains s·B·A[:, t]. Dropout has no place here. */
public final class LoraEmbedding extends Adapter {

  private final Embedding layer;
  private double scaling;
  private final Tensor a; // [r, V]
  private final Tensor b; // [D, r]

  LoraEmbedding(LoraConfig config, Embedding layer, String path, Init init) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    int r = config.rankAt(path);
    long v = layer.vocabulary();
    long d = layer.width();
    Tensor freshA = init.normal(1, r, v);
    Tensor freshB = init.normal(1, d, r);
    boolean unset = config.init() instanceof LoraInit.Unset;
    a = parameter("lora_embedding_A", unset ? freshA : init.zero(r, v));
    b = parameter("lora_embedding_B", unset ? freshB : init.normal(1, d, r));
  }

  @Override
  public Embedding layer() {
    return layer;
  }

  /** The factor on B·A. */
  public double scaling() {
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
  Tensor a() {
    return a;
  }

  /** B [D, r]. */
  Tensor b() {
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
