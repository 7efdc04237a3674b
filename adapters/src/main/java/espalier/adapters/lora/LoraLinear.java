package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a linear layer: y = W x + s·B·A·x, with s = alpha / r or alpha / √r. A variant is a
 * subclass that overrides what it computes otherwise; then it overrides {@link #first} and {@link
 * #forward} both.
 *
 * @see <a href="https://arxiv.org/abs/2106.09685">LoRA: Low-Rank Adaptation</a>
 */
public class LoraLinear extends Adapter {

  private final Linear layer;
  private double scaling;
  private final double dropout;
  private final Tensor a; // [r, in]
  private final Tensor b; // [out, r]
  private final @Nullable Tensor bias; // [out]

  LoraLinear(LoraConfig config, Linear layer, String path, LoraFactors factors) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    dropout = config.dropout();
    a = parameter("lora_A.weight", factors.a());
    b =
        factors.frozenB()
            ? constant("lora_B.weight", factors.b())
            : parameter("lora_B.weight", factors.b());
    bias = factors.bias() == null ? null : parameter("lora_B.bias", factors.bias());
    if (factors.residual() != null) {
      leaves(factors.residual());
    }
  }

  @Override
  public final Linear layer() {
    return layer;
  }

  /** The factor on B·A: alpha / r or alpha / √r, times the runtime scale. */
  public final double scaling() {
    return scaling * scale();
  }

  final void rescale(double factor) {
    scaling = factor;
  }

  /** A [r, in]. */
  public final Tensor a() {
    return a;
  }

  /** B [out, r]. */
  public final Tensor b() {
    return b;
  }

  @Override
  public Tensor first(Tensor x) {
    // The base's fresh product is written into: no temporary of the size of y, and autograd keeps
    // x once, for A.
    Tensor rows = rows(x);
    Tensor y = layer.base(rows);
    ScalarType dtype = y.scalar_type().intern();
    y.addmm_(hidden(rows), b.to(dtype).t(), one(), new Scalar(scaling()));
    if (bias != null) {
      y.add_(bias.to(dtype), new Scalar(scaling()));
    }
    return shaped(y, x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = y.scalar_type().intern();
    Tensor h = hidden(rows(x)).to(dtype);
    Tensor sum = addmm(rows(y), h, b.to(dtype).t(), one(), new Scalar(scaling()));
    return shaped(bias == null ? sum : sum.add_(bias.to(dtype), new Scalar(scaling())), x);
  }

  // The factors are cast and not x: they are small and x is not.
  private Tensor hidden(Tensor rows) {
    Tensor kept = dropout > 0 && training() ? dropout(rows, dropout, true) : rows;
    return kept.matmul(a.to(rows.scalar_type().intern()).t());
  }

  @Override
  public Tensor forwardRows(Tensor x, Tensor y, List<Adapter> adapters, int[] choice) {
    return getClass() == LoraLinear.class
        ? LoraRows.forward(x, y, adapters.stream().map(LoraLinear.class::cast).toList(), choice)
        : super.forwardRows(x, y, adapters, choice); // a variant computes something else
  }

  @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public Tensor deltaWeight() {
    return times(wide(b).matmul(wide(a)), scaling());
  }

  @Override
  public Tensor mergedInto(Tensor weight) {
    Tensor w = wide(weight);
    Tensor bw = b.to(w.scalar_type().intern());
    Tensor aw = a.to(w.scalar_type().intern());
    var s = new Scalar(scaling());
    Tensor sum =
        layer.transposed() // computed as it is stored, so that the layout stays
            ? addmm(w.t(), aw.t(), bw.t(), one(), s).t()
            : addmm(w, bw, aw, one(), s);
    return sum.to(weight.scalar_type().intern());
  }

  @Override
  public @Nullable Tensor deltaBias() {
    return bias == null ? null : times(wide(bias), scaling());
  }

  @Override
  public @Nullable String mergeRefusal() {
    return bias != null && layer.bias() == null
        ? "lora_bias can not be merged into a layer without a bias"
        : null;
  }

  static Scalar one() {
    return new Scalar(1);
  }

  static Tensor rows(Tensor x) {
    return x.dim() == 2 ? x : x.reshape(-1, x.size(-1));
  }

  private Tensor shaped(Tensor rows, Tensor x) {
    if (x.dim() == 2) {
      return rows;
    }
    long[] shape = new long[(int) x.dim()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = x.size(i);
    }
    shape[shape.length - 1] = layer.out();
    return rows.view(shape);
  }
}
