package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.adapters.hira.Hadamard;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** HiRA-SB on a linear layer: between B and Q = s R A it is HiRA's branch. */
public final class HiraSbLinear extends HiraSbAdapter {

  private final Linear layer;
  private final double dropout;

  HiraSbLinear(HiraSbConfig config, Linear layer, String path, int rank, Init init) {
    super(config, layer, path, rank, init);
    this.layer = layer;
    dropout = config.dropout();
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    return additive() || (dropout > 0 && training())
        ? forward(x, layer.base(x))
        : Hadamard.whole(layer, x, left(), right());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    Tensor branch = additive() ? sum(kept) : Hadamard.branch(layer, kept, left(), right());
    return y.add(branch.to(y.scalar_type().intern()));
  }

  /** x (s B R A)ᵀ, through the r numbers a token. */
  private Tensor sum(Tensor x) {
    ScalarType dtype = left().scalar_type().intern();
    return x.to(dtype).matmul(right().to(dtype).t()).matmul(left().t());
  }
}
