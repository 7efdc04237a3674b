package espalier.models;

import espalier.nn.CustomFunction;
import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The angles of one batch, computed once and shared by all blocks.
 *
 * @param cos [B or 1, T, 1, dim / 2]
 * @param sin [B or 1, T, 1, dim / 2]
 * @param wide cos twice side by side, [B or 1, T, 1, dim]
 */
record Rotation(Tensor cos, Tensor sin, Tensor wide) {

  /**
   * Angles at the given positions.
   *
   * @param positions [B or 1, T] int64
   * @param length 1 + the largest position; only dynamic scaling needs it
   * @param dtype of the hidden states
   */
  static Rotation of(Rope rope, Tensor positions, long length, ScalarType dtype) {
    Tensor angles =
        positions
            .to(ScalarType.Float)
            .unsqueeze(-1)
            .unsqueeze(-1)
            .mul(rope.frequencies(length, positions.device()));
    Tensor cos = angles.cos();
    Tensor sin = angles.sin_();
    if (rope.attentionFactor() != 1) {
      var factor = new Scalar(rope.attentionFactor());
      cos.mul_(factor);
      sin.mul_(factor);
    }
    Tensor narrow = cos.to(dtype);
    return new Rotation(narrow, sin.to(dtype), narrow.repeat(1, 1, 1, 2));
  }

  /**
   * Turns each head of x [B, T, heads, dim]; entry i is paired with entry i + dim / 2. It happens
   * in place where no backward needs x as it was, for a projection's output is of no use to others.
   */
  Tensor apply(Tensor x) {
    Tensor y = Scope.writable(x);
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      Tensor before = y.clone();
      cross(y.mul_(wide), before, sin, 1);
    }
    // The gradient is turned back, so backward needs nothing of x.
    return CustomFunction.join(
        y,
        List.of(x),
        List.of(sin, wide),
        (g, saved) -> List.of(cross(g.mul(saved.get(1)), g, saved.get(0), -1)));
  }

  /** Adds to y what each half of x gives to the other. */
  private static Tensor cross(Tensor y, Tensor x, Tensor sin, int direction) {
    long half = sin.size(-1);
    y.narrow(-1, 0, half).addcmul_(x.narrow(-1, half, half), sin, new Scalar(-direction));
    y.narrow(-1, half, half).addcmul_(x.narrow(-1, 0, half), sin, new Scalar(direction));
    return y;
  }
}
