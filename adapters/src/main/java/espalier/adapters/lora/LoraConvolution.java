package espalier.adapters.lora;

import static espalier.nn.Convolution.convolve;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Init;
import java.util.Arrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a convolution: A is a convolution to r channels that moves as the base does, B one of
 * kernel size 1 from there.
 */
public class LoraConvolution extends Adapter {

  private final Convolution layer;
  private double scaling;
  private final double dropout;
  private final Tensor a; // [r, in, k...]
  private final Tensor b; // [out, r / groups, 1...]
  private final @Nullable Tensor bias; // [out]

  LoraConvolution(LoraConfig config, Convolution layer, String path, Init init) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    dropout = config.dropout();
    int r = config.rankAt(path);
    long[] aShape = new long[layer.dimensions() + 2];
    aShape[0] = r;
    aShape[1] = layer.in();
    System.arraycopy(layer.kernel(), 0, aShape, 2, layer.dimensions());
    long[] bShape = new long[aShape.length];
    Arrays.fill(bShape, 1);
    bShape[0] = layer.out();
    bShape[1] = r / layer.geometry().groups();
    var factors = LoraFactors.draw(config, init, aShape, bShape);
    a = parameter("lora_A.weight", factors.a());
    b = parameter("lora_B.weight", factors.b());
    bias = factors.bias() == null ? null : parameter("lora_B.bias", factors.bias());
  }

  @Override
  public final Convolution layer() {
    return layer;
  }

  /** The factor on what B gives. */
  public final double scaling() {
    return scaling * scale();
  }

  void rescale(double factor) {
    scaling = factor;
  }

  /** A [r, in, k...]. */
  final Tensor a() {
    return a;
  }

  /** B [out, r / groups, 1...]. */
  final Tensor b() {
    return b;
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return plus(y, dropped(x));
  }

  /** Whether the branch sees another input than the base. */
  final boolean dropping() {
    return dropout > 0 && training();
  }

  /** The input of the branch: x, or in training what dropout leaves of it. */
  final Tensor dropped(Tensor x) {
    return dropping() ? dropout(x, dropout, true) : x;
  }

  /** y and the branch of {@code kept}, in a tensor of its own. */
  final Tensor plus(Tensor y, Tensor kept) {
    ScalarType dtype = kept.scalar_type().intern();
    Tensor h = convolve(kept, a.to(dtype), null, layer.geometry().ungrouped());
    Tensor branch = convolve(h, b.to(dtype), bias == null ? null : bias.to(dtype), point());
    return y.add(branch, new Scalar(scaling())).to(y.scalar_type().intern());
  }

  private Convolution.Geometry point() {
    var plain = Convolution.Geometry.plain(layer.dimensions());
    return new Convolution.Geometry(
        plain.stride(),
        plain.padding(),
        plain.dilation(),
        layer.geometry().groups(),
        plain.paddingMode());
  }

  @Override
  public Tensor deltaWeight() {
    Tensor product = wide(b).flatten(1, -1).matmul(wide(a).flatten(1, -1));
    return times(product, scaling()).view_as(layer.weight());
  }

  @Override
  public @Nullable Tensor deltaBias() {
    return bias == null ? null : times(wide(bias), scaling());
  }

  @Override
  public @Nullable String mergeRefusal() {
    return layer.geometry().groups() > 1
        ? "A mixes the groups of the convolution, so no kernel in groups can hold the sum"
        : null;
  }
}
