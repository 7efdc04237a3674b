package espalier.adapters.oft;

import espalier.nn.Convolution;
import espalier.nn.HalfPrecision;
import espalier.nn.Init;
import espalier.nn.Rows;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * OFT on a convolution: each patch of the input is rotated, which is the convolution whose kernel
 * [out, in·k·k] is W·Rᵀ.
 */
public final class OftConvolution extends OftAdapter {

  private final Convolution layer;

  OftConvolution(OftConfig config, Convolution layer, Init init) {
    super(config, "oft_R.weight", layer.weight().numel() / layer.out(), init);
    this.layer = layer;
  }

  @Override
  public Convolution layer() {
    return layer;
  }

  private Tensor kernel() {
    return turned(layer.weight(), blocks());
  }

  @Override
  public Tensor first(Tensor x) {
    return layer.base(x, kernel().to(layer.dtype()), layer.bias());
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalStateException if there are adapters before it, whose patches it would have to
   *     rotate too
   */
  @Override
  public Tensor forward(Tensor x, Tensor y) {
    List<?> before = layer.adapters().inForce();
    if (!Rows.ADAPTERS.isBound() && !before.isEmpty() && !this.equals(before.getFirst())) {
      throw new IllegalStateException(
          "OFT on a %s can not act after other adapters that are not merged; activate it first, or merge them"
              .formatted(layer.typeName()));
    }
    Tensor kernel = kernel();
    Tensor change = kernel.sub(HalfPrecision.widened(layer.weight()).to(kernel.dtype()));
    ScalarType dtype = x.scalar_type().intern();
    return y.add(layer.base(x, change.to(dtype), null)).to(y.scalar_type().intern());
  }
}
