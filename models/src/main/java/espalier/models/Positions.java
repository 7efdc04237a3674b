package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;

import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Which position each token has, [B or 1, T] int64. */
final class Positions {

  private Positions() {}

  static Tensor of(Position.Counting counting, int pad, StackInputs in) {
    if (in.positions() != null) {
      return in.positions();
    }
    Tensor reach = in.reach();
    if (reach != null) {
      Tensor restarted = PackedRows.positions(reach);
      return counting == Position.Counting.OVER_TOKENS
          ? restarted.add_(new Scalar(pad + 1))
          : restarted;
    }
    Tensor seen = in.visible();
    Tensor plain = plain(in);
    return switch (counting) {
      case PLAIN -> plain;
      case FROM_FIRST -> {
        if (seen == null) {
          yield plain;
        }
        // argmax gives the first of equals
        Tensor first = seen.to(ScalarType.Byte).argmax(new LongOptional(1), true);
        yield plain.sub(first).clamp_min_(new Scalar(0));
      }
      case OVER_MASK -> {
        if (seen == null) {
          yield plain;
        }
        Tensor mask = seen.to(ScalarType.Long);
        yield mask.cumsum(1).mul_(mask).sub_(new Scalar(1)).narrow(1, in.past(), in.time());
      }
      case OVER_TOKENS -> {
        Tensor mask = in.ids().ne(new Scalar(pad)).to(ScalarType.Long);
        yield mask.cumsum(1).mul_(mask).add_(new Scalar(pad));
      }
    };
  }

  private static Tensor plain(StackInputs in) {
    return arange(new Scalar(in.past()), new Scalar(in.past() + in.time()), in.ids().options())
        .unsqueeze(0);
  }
}
