package espalier.adapters.hira;

import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.CustomFunction;
import espalier.nn.Init;
import espalier.nn.WeightMultiplier;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** HiRA on a convolution: the kernel gains W ⊙ BA, with A flattened over inputs and kernel. */
public final class HiraConvolution extends Adapter {

  private final Convolution layer;
  private final KernelBranch branch;
  private final Tensor a; // [r, in, k...]
  private final Tensor b; // [out, r, 1...]

  HiraConvolution(HiraConfig config, Convolution layer, int r, Init init) {
    this.layer = layer;
    branch = new KernelBranch(layer, config.dropout());
    long[] aShape = new long[layer.dimensions() + 2];
    aShape[0] = r;
    aShape[1] = layer.in();
    System.arraycopy(layer.kernel(), 0, aShape, 2, layer.dimensions());
    long[] bShape = new long[aShape.length];
    Arrays.fill(bShape, 1);
    bShape[0] = layer.out();
    bShape[1] = r;
    var factors = HiraFactors.draw(config, init, aShape, bShape);
    a = parameter("hira_A", factors.a());
    b = parameter("hira_B", factors.b());
  }

  @Override
  public Convolution layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), this::kernel);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), this::kernel);
  }

  /** W ⊙ M or W ⊙ (1 + M), from a node that keeps the factors alone. */
  private Tensor kernel(boolean plusOne) {
    Tensor w = layer.originalWeight();
    double s = scale();
    return CustomFunction.apply(
        List.of(a, b),
        List.of(a, b, w),
        () -> {
          Tensor m = modulation();
          return (plusOne ? m.add_(new Scalar(1)) : m).mul(w);
        },
        (g, saved) -> {
          Tensor flatA = wide(saved.get(0)).flatten(1, -1);
          Tensor flatB = wide(saved.get(1)).flatten(1, -1);
          Tensor gm = times(wide(g).mul(saved.get(2)), s).flatten(1, -1); // [out, in·k]
          ScalarType dtype = saved.get(0).scalar_type().intern();
          return Arrays.asList(
              flatB.t().matmul(gm).view_as(saved.get(0)).to(dtype),
              gm.matmul(flatA.t()).view_as(saved.get(1)).to(dtype));
        });
  }

  /** B·A in the shape of the kernel, without the kernel. */
  public Tensor modulation() {
    return times(modulation(wide(a), wide(b)), scale());
  }

  private Tensor modulation(Tensor wideA, Tensor wideB) {
    Tensor product = wideB.flatten(1, -1).matmul(wideA.flatten(1, -1));
    return product.view_as(layer.weight());
  }

  @Override
  public WeightMultiplier multiplier() {
    return KeptModulation.of(a, b, scale(), this::modulation);
  }

  @Override
  public Tensor deltaWeight() {
    return modulation().mul(wide(layer.originalWeight()));
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    return HiraFactors.accept(state().get(name), name, shape);
  }

  @Override
  public void requireLoadable(Map<String, Tensor> saved) {
    HiraFactors.requireOneRank(saved.getOrDefault("hira_A", a), saved.getOrDefault("hira_B", b));
  }

  @Override
  public @Nullable String conversionRefusal() {
    return HiraFactors.conversionRefusal(this, super.conversionRefusal());
  }
}
