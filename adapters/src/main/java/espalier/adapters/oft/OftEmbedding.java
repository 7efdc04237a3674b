package espalier.adapters.oft;

import espalier.nn.Embedding;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;

/**
 * OFT on an embedding: what is looked up is rotated, e R, together with what adapters that came
 * before it made of it.
 */
public final class OftEmbedding extends OftAdapter {

  private final Embedding layer;

  OftEmbedding(OftConfig config, Embedding layer, Init init) {
    super(config, "oft_embedding_R.weight", layer.width(), init);
    this.layer = layer;
  }

  @Override
  public Embedding layer() {
    return layer;
  }

  @Override
  Tensor onWeight(Tensor r) {
    return r;
  }

  @Override
  public Tensor forward(Tensor ids, Tensor y) {
    return rotated(y);
  }
}
