package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;
import static org.bytedeco.pytorch.global.torch.addmm;

import espalier.nn.BranchProduct;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.WeightRows;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * DoRA on a linear layer: y = (m / n) ⊙ (W x + s·B·A·x) + bias, with a trained magnitude m [out]
 * and n the lengths of the rows of W + s·BA. Among several adapters it scales what those before it
 * gave as well.
 *
 * @see <a href="https://arxiv.org/abs/2402.09353">DoRA: Weight-Decomposed Low-Rank Adaptation</a>
 */
public final class DoraLinear extends LoraLinear {

  private final RowNorms norms = new RowNorms(this::direction, () -> layer().out());
  private final Magnitude magnitude;

  DoraLinear(LoraConfig config, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    Tensor m = init.isBlank() ? init.zero(layer.out()) : lengths(); // a new adapter changes nothing
    magnitude =
        new Magnitude(
            parameter(Magnitude.NAME, m), List.of(a(), b()), this::scaling, this::lengths);
  }

  private Tensor lengths() {
    return norms.of(a(), b(), scaling());
  }

  private WeightRows direction() {
    Tensor left = residual(); // until it is attached
    return left == null ? layer().originalRows() : (from, length) -> left.narrow(0, from, length);
  }

  @Override
  public Tensor first(Tensor x) {
    if (dropping()) {
      return forward(x, layer().base(x));
    }
    Tensor rows = rows(x);
    Tensor bias = Magnitude.mergedBias(layer());
    if (layer().partition() == null) {
      var branch = new LoraBranch(scaling());
      Tensor y =
          magnitude.within(
              c -> BranchProduct.whole(layer(), rows, bias, List.of(a(), b()), branch, c),
              training());
      return shaped(withBias(y), x);
    }
    Tensor z = layer().withBias(rows, bias);
    Tensor u = z.addmm_(hidden(rows), dtyped(b(), z).t(), one(), new Scalar(scaling()));
    return shaped(withBias(magnitude.scale(u, training())), x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor rows = rows(x);
    Tensor sum = rows(y);
    if (!dropping()) {
      Tensor bias = layer().adapters().originalBias();
      Tensor z = bias == null ? sum : sum.sub(dtyped(bias, sum));
      return shaped(withBias(scaled(z, rows)), x);
    }
    // What dropout leaves of x goes through the base a second time, for the magnitude to act on.
    Tensor kept = dropped(rows);
    Tensor z = dtyped(layer().withBias(kept, null), sum);
    return shaped(sum.add(scaled(z, kept)).sub_(z), x);
  }

  private Tensor scaled(Tensor z, Tensor kept) {
    Tensor h = dtyped(hidden(kept), z);
    return magnitude.scale(
        addmm(z, h, dtyped(b(), z).t(), one(), new Scalar(scaling())), training());
  }

  private Tensor withBias(Tensor scaled) {
    Tensor bias = layer().adapters().originalBias();
    return bias == null ? scaled : Magnitude.plus(scaled, dtyped(bias, scaled));
  }

  private static Tensor dtyped(Tensor tensor, Tensor like) {
    return tensor.to(like.scalar_type().intern());
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
    return sum(weight).mul_(magnitude.now().unsqueeze(1));
  }

  @Override
  public @Nullable Tensor mergedIntoBias(@Nullable Tensor bias) {
    return magnitude.onMergedBias(layer(), bias);
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
