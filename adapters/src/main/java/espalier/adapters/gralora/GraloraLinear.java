package espalier.adapters.gralora;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.BranchProduct;
import espalier.nn.Features;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * GraLoRA on a linear layer: the weight is cut into k × k blocks, and each has a low-rank update of
 * its own. With the parameters and products of LoRA at rank r the update may have rank k·r, and a
 * block of inputs with huge activations only disturbs the factors that read it.
 *
 * @see BlockGrid
 * @see <a href="https://arxiv.org/abs/2505.20355">GraLoRA: Granular Low-Rank Adaptation</a>
 */
public final class GraloraLinear extends Adapter {

  private final Linear layer;
  private final double scaling;
  private final double dropout;
  private final Tensor a; // [k, in/k, r]
  private final Tensor b; // [k, r, out/k]
  private final @Nullable Tensor generalA; // [hybrid, in]
  private final @Nullable Tensor generalB; // [out, hybrid]

  GraloraLinear(GraloraConfig config, Linear layer, int r, Init init) {
    this.layer = layer;
    scaling = config.alpha() / (r + config.hybridR());
    dropout = config.dropout();
    GraloraFactors factors = GraloraFactors.draw(config, layer, r, init);
    a = parameter("gralora_A", factors.a());
    b = parameter("gralora_B", factors.b());
    generalA = general("gralora_A_general.weight", factors.generalA());
    generalB = general("gralora_B_general.weight", factors.generalB());
  }

  private @Nullable Tensor general(String name, @Nullable Tensor value) {
    return value == null ? null : parameter(name, value);
  }

  @Override
  public Linear layer() {
    return layer;
  }

  /** The factor on the branch: alpha / (r + hybrid_r), times the runtime scale. */
  public double scaling() {
    return scaling * scale();
  }

  @Override
  public Tensor first(Tensor x) {
    Tensor rows = Features.rows(x);
    Tensor y =
        dropping() // then base and blocks see different inputs
            ? BranchProduct.into(layer.base(rows), kept(rows), List.of(a, b), branch())
            : BranchProduct.whole(layer, rows, List.of(a, b), branch());
    return Features.shaped(withGeneral(y, rows), x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor rows = Features.rows(x);
    Tensor own = Features.rows(y).clone(); // somebody else may hold y
    Tensor sum = BranchProduct.into(own, kept(rows), List.of(a, b), branch());
    return Features.shaped(withGeneral(sum, rows), x);
  }

  private BlockBranch branch() {
    return new BlockBranch(scaling());
  }

  private boolean dropping() {
    return dropout > 0 && training();
  }

  /** x with a mask of its own: blocks and general part draw one each, blocks first. */
  private Tensor kept(Tensor x) {
    return dropping() ? dropout(x, dropout, true) : x;
  }

  /** Adds the plain LoRA part to y, which is written to. */
  private Tensor withGeneral(Tensor y, Tensor rows) {
    if (generalA == null || generalB == null) {
      return y;
    }
    ScalarType dtype = y.scalar_type().intern();
    Tensor h = kept(rows).matmul(generalA.to(rows.scalar_type().intern()).t()).to(dtype);
    return y.addmm_(h, generalB.to(dtype).t(), new Scalar(1), new Scalar(scaling()));
  }

  @Override
  public Tensor deltaWeight() {
    Tensor wideA = wide(a);
    Tensor delta = // as the weight is stored, so that merging keeps the layout
        layer.transposed()
            ? wideA.new_empty(layer.in(), layer.out()).t()
            : wideA.new_empty(layer.out(), layer.in());
    new BlockGrid(wideA, wide(b)).matrix(scaling(), delta);
    return generalA == null || generalB == null
        ? delta
        : delta.addmm_(wide(generalB), wide(generalA), new Scalar(1), new Scalar(scaling()));
  }
}
