package espalier.adapters.lora;

import espalier.nn.Embedding;
import espalier.nn.Init;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * DoRA on an embedding: the row of token t becomes (m / n) ⊙ (W[t] + s·B·A[:, t]), with m [D] and n
 * the lengths of the columns of the summed table.
 */
public final class DoraEmbedding extends LoraEmbedding {

  private final RowNorms norms = new RowNorms(() -> layer().originalWeight().t());
  private final Magnitude magnitude;

  DoraEmbedding(LoraConfig config, Embedding layer, String path, Init init) {
    super(config, layer, path, init);
    Tensor m = init.isBlank() ? init.zero(layer.width()) : lengths();
    magnitude =
        new Magnitude(
            parameter(Magnitude.NAME, m), List.of(a(), b()), this::scaling, this::lengths);
  }

  private Tensor lengths() {
    return norms.of(a(), b(), scaling());
  }

  @Override
  public Tensor forward(Tensor ids, Tensor y) {
    return magnitude.scale(super.forward(ids, y), training());
  }

  @Override
  public Tensor deltaWeight() {
    Tensor w = layer().originalWeight();
    return scaledSum(w).sub(wide(w));
  }

  @Override
  public Tensor mergedInto(Tensor weight) {
    return scaledSum(weight).to(weight.scalar_type().intern());
  }

  private Tensor scaledSum(Tensor weight) {
    return wide(weight).add(super.deltaWeight()).mul_(magnitude.now());
  }

  @Override
  protected void replaced() {
    norms.forget();
    magnitude.forget();
  }

  @Override
  public void close() {
    super.close();
    norms.close();
    magnitude.close();
  }

  @Override
  public @Nullable String rowsRefusal() {
    return referenceRefusals() ? Magnitude.ROWS_REFUSAL : super.rowsRefusal();
  }
}
