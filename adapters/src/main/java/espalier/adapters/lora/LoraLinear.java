package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;
import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.BranchProduct;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a linear layer: y = W x + s·B·A·x, with s = alpha / r or alpha / √r. A variant is a
 * subclass that overrides what it computes otherwise: {@link #hidden}, or {@link #first} and {@link
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
  private @Nullable LoraRows joined; // of the last mixed batch that began with this adapter
  private final Map<String, Tensor> initial;

  LoraLinear(LoraConfig config, Linear layer, String path, LoraFactors factors) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    dropout = config.dropout();
    a = parameter("lora_A.weight", factors.a());
    b =
        factors.frozenB()
            ? frozen("lora_B.weight", factors.b())
            : parameter("lora_B.weight", factors.b());
    bias = factors.bias() == null ? null : parameter("lora_B.bias", factors.bias());
    if (factors.residual() != null) {
      leaves(factors.residual());
    }
    initial =
        factors.residual() != null && config.init().takenOut()
            ? Map.of(
                "lora_A.weight",
                Scope.own(factors.a().clone()),
                "lora_B.weight",
                Scope.own(factors.b().clone()))
            : Map.of();
  }

  @Override
  public final Map<String, Tensor> initial() {
    return initial;
  }

  @Override
  public final @Nullable Tensor takenOut() {
    Tensor firstA = initial.get("lora_A.weight");
    Tensor firstB = initial.get("lora_B.weight");
    return firstA == null || firstB == null
        ? null
        : times(ofOutputs(firstB).matmul(ofInputs(firstA)), scaling);
  }

  /** The columns of an A for the inputs that this rank's part of the weight has. */
  Tensor ofInputs(Tensor a) {
    return a;
  }

  /** The rows of a B, or of its bias, for the outputs that this rank's part of the weight has. */
  Tensor ofOutputs(Tensor b) {
    return b;
  }

  @Override
  public void close() {
    super.close();
    initial.values().forEach(Tensor::close);
    if (joined != null) {
      joined.close();
      joined = null;
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
    Tensor rows = rows(x);
    if (getClass() == LoraLinear.class && layer.partition() == null) {
      var branch = new LoraBranch(scaling(), dropping() ? dropout : 0);
      var factors = new ArrayList<>(bias == null ? List.of(a, b) : List.of(a, b, bias));
      if (dropping()) {
        factors.add(branch.drawn(rows));
      }
      return shaped(BranchProduct.whole(layer, rows, factors, branch), x);
    }
    // The base's fresh product is written into: no temporary of the size of y, and autograd keeps
    // x once, for A.
    Tensor y = layer.base(rows);
    ScalarType dtype = y.scalar_type().intern();
    y.addmm_(hidden(dropped(rows)), b.to(dtype).t(), one(), new Scalar(scaling()));
    if (bias != null) {
      y.add_(bias.to(dtype), new Scalar(scaling()));
    }
    return shaped(y, x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = y.scalar_type().intern();
    Tensor h = hidden(dropped(rows(x))).to(dtype);
    Tensor sum = addmm(rows(y), h, b.to(dtype).t(), one(), new Scalar(scaling()));
    return shaped(bias == null ? sum : sum.add_(bias.to(dtype), new Scalar(scaling())), x);
  }

  /** The input of the branch: x, or in training what dropout leaves of it. */
  final Tensor dropped(Tensor rows) {
    if (!dropping()) {
      return rows;
    }
    Partition partition = layer.partition();
    return partition == null ? dropout(rows, dropout, true) : partition.dropout(rows, dropout);
  }

  /** Whether the branch sees another input than the base. */
  final boolean dropping() {
    return dropout > 0 && training();
  }

  /** From the input of the branch [T, in] to the rank, [T, r]. */
  Tensor hidden(Tensor kept) {
    return product(kept, a);
  }

  /** A as the matrix [r, in] that merging multiplies by. */
  Tensor wideA() {
    return ofInputs(wide(a));
  }

  /** B as the matrix [out, r] that merging multiplies by. */
  Tensor wideB() {
    return ofOutputs(wide(b));
  }

  /** x Fᵀ in the dtype of x. The factor is cast and not x: it is small and x is not. */
  static Tensor product(Tensor rows, Tensor factor) {
    return rows.matmul(factor.to(rows.scalar_type().intern()).t());
  }

  @Override
  public Tensor forwardRows(Tensor x, Tensor y, List<Adapter> adapters, int[] choice) {
    if (getClass() != LoraLinear.class) {
      return super.forwardRows(x, y, adapters, choice); // a variant computes something else
    }
    List<LoraLinear> loras = adapters.stream().map(LoraLinear.class::cast).toList();
    synchronized (this) { // batches may be decoded side by side
      joined = LoraRows.of(joined, loras, choice, x.scalar_type().intern());
      return joined.forward(x, y);
    }
  }

  @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public Tensor deltaWeight() {
    return times(wideB().matmul(wideA()), scaling());
  }

  @Override
  public Tensor mergedInto(Tensor weight) {
    return sum(weight).to(weight.scalar_type().intern());
  }

  /** The weight and s·B·A, float32 or wider, in a tensor of its own. */
  final Tensor sum(Tensor weight) {
    Tensor w = wide(weight);
    Tensor bw = wideB().to(w.scalar_type().intern());
    Tensor aw = wideA().to(w.scalar_type().intern());
    var s = new Scalar(scaling());
    return layer.transposed() // computed as it is stored, so that the layout stays
        ? addmm(w.t(), aw.t(), bw.t(), one(), s).t()
        : addmm(w, bw, aw, one(), s);
  }

  @Override
  public @Nullable Tensor deltaBias() {
    return bias == null ? null : times(ofOutputs(wide(bias)), scaling());
  }

  /** The same numbers in float32 at least. */
  static Tensor widened(Tensor tensor) {
    return wide(tensor);
  }

  static Scalar one() {
    return new Scalar(1);
  }
}
