package espalier.parity;

import static org.bytedeco.pytorch.global.torch.ones;

import espalier.adapters.shira.MaskFunction;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** The masks of the user's own that cases name. */
final class GoldenMask {

  private GoldenMask() {}

  static MaskFunction of(String name) {
    return switch (name) {
      case "first" -> GoldenMask::first;
      case "largest" -> GoldenMask::largest;
      case "too_many" -> (layer, _) -> ones(layer.out(), layer.in());
      case "wrong_shape" -> (layer, _) -> ones(2 * layer.out(), 2 * layer.in());
      default -> throw new AssertionError("the mask %s is not known".formatted(name));
    };
  }

  private static Tensor first(Linear layer, int r) {
    Tensor mask = layer.weight().new_zeros(layer.out() * layer.in());
    mask.narrow(0, 0, r * (layer.out() + layer.in())).fill_(new Scalar(1));
    return mask.view(layer.out(), layer.in());
  }

  private static Tensor largest(Linear layer, int r) {
    Tensor size = layer.weight().abs().reshape(-1);
    Tensor mask = size.new_zeros(size.numel());
    mask.index_fill_(0, size.topk(r * (layer.out() + layer.in())).get1(), new Scalar(1));
    return mask.view(layer.out(), layer.in());
  }
}
