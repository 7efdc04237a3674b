package espalier.adapters.oft;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Features;
import espalier.nn.Init;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What OFT does alike on all layers: the weight W becomes W·Rᵀ, and an embedding's table E·R. */
abstract class OftAdapter extends Adapter {

  private final Rotation rotation;
  private final Tensor angles; // [blocks, n (n - 1) / 2]

  OftAdapter(OftConfig config, String name, long width, Init init) {
    rotation = new Rotation(config, width);
    angles = parameter(name, rotation.start(init));
  }

  @Override
  public abstract Adaptable layer();

  /** The blocks of R as autograd sees them, in the dtype of the angles. */
  final Tensor blocks() {
    Tensor now = rotation.heldBack(angles);
    if (GradMode.is_enabled() && angles.requires_grad()) {
      try (var _ = new NoGradGuard()) {
        angles.copy_(now); // what is out of bounds is brought back before a gradient is taken
      }
      now = angles;
    }
    return rotation.of(now, scale(), training());
  }

  /** What the rows of the weight are multiplied by, for blocks of R. */
  Tensor onWeight(Tensor r) {
    return r.transpose(1, 2);
  }

  /** Features [..., width] times R, in their dtype. */
  final Tensor rotated(Tensor features) {
    Tensor r = blocks();
    Tensor rows = Features.rows(features).to(r.scalar_type().intern());
    return Features.shaped(rotation.rotated(rows, r), features).to(features.scalar_type().intern());
  }

  /** The weight with blocks of R in it, in the dtype of the blocks. */
  final Tensor turned(Tensor weight, Tensor r) {
    Tensor flat = weight.flatten(1, -1).to(r.scalar_type().intern());
    return rotation.rotated(flat, onWeight(r)).view(weight.shape());
  }

  @Override
  public final Tensor mergedInto(Tensor weight) {
    Tensor r = rotation.of(wide(rotation.heldBack(angles)), scale(), false);
    return turned(weight, r).to(weight.scalar_type().intern());
  }

  @Override
  public final Tensor deltaWeight() {
    Tensor w = layer().originalWeight();
    Tensor exact = wide(angles).scalar_type().intern() == w.scalar_type().intern() ? w : wide(w);
    return mergedInto(exact).sub(exact);
  }

  @Override
  public final @Nullable String conversionRefusal() {
    return referenceRefusals()
        ? "the reference does not convert OFT; switch referenceRefusals off to convert it with a"
            + " report of the error"
        : super.conversionRefusal();
  }
}
