package espalier.adapters.gralora;

import espalier.nn.CustomFunction;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Products with a {@link BlockGrid} as one autograd node, which keeps x and the factors and
 * computes the channels between them again in backward.
 *
 * <pre>
 *     H  = X A              H' = swap(H)           Y  = H' B            X, Y: by blocks
 *     dB = H'ᵀ G            dH = swap(G Bᵀ)        dA = Xᵀ dH           dX = dH Aᵀ
 * </pre>
 */
final class BlockProduct {

  private final double s;
  private final @Nullable Linear base; // whose own product the node has too, or null

  private BlockProduct(double s, @Nullable Linear base) {
    this.s = s;
    this.base = base;
  }

  /**
   * The output of a frozen base and of the blocks together, so that neither the output nor the
   * gradient of x is ever held twice: x Wᵀ + bias + s · x Mᵀ.
   *
   * @param x [T, in]
   * @param a [k, in/k, r]
   * @param b [k, r, out/k]
   * @return [T, out] in the dtype of x
   */
  static Tensor whole(Linear base, Tensor x, Tensor a, Tensor b, double s) {
    var node = new BlockProduct(s, base);
    boolean[] wanted = {x.requires_grad(), a.requires_grad(), b.requires_grad()};
    return CustomFunction.apply(
        List.of(x, a, b),
        List.of(x, a, b, base.weight()),
        () -> node.forward(base, x, a, b),
        (g, saved) -> node.backward(g, saved, wanted));
  }

  /**
   * Adds s · x Mᵀ to y.
   *
   * @param y [T, out], written to; autograd must not need what it was
   * @param x [T, in]
   * @return y
   */
  static Tensor into(Tensor y, Tensor x, Tensor a, Tensor b, double s) {
    var node = new BlockProduct(s, null);
    boolean[] wanted = {x.requires_grad(), a.requires_grad(), b.requires_grad()};
    try (var _ = new NoGradGuard()) {
      ScalarType dtype = computed(y);
      Tensor sum = y.to(dtype);
      grid(a, b, dtype).multiply(x.to(dtype), s, sum);
      if (dtype != y.scalar_type().intern()) {
        y.copy_(sum);
      }
    }
    return CustomFunction.join(
        y,
        List.of(y, x, a, b),
        List.of(x, a, b),
        (g, saved) -> {
          List<@Nullable Tensor> own = node.backward(g, saved, wanted);
          return Arrays.asList(g, own.get(0), own.get(1), own.get(2));
        });
  }

  /**
   * The dtype to compute in: half precision that would be emulated is widened, where there are
   * enough rows to pay for widening the weight.
   */
  private static ScalarType computed(Tensor rows) {
    return HalfPrecision.emulated(rows) && rows.size(0) >= 16
        ? ScalarType.Float
        : rows.scalar_type().intern();
  }

  // The factors are cast and not x, where there is a choice: they are small and x is not.
  private static BlockGrid grid(Tensor a, Tensor b, ScalarType dtype) {
    return new BlockGrid(a.to(dtype), b.to(dtype));
  }

  private Tensor forward(Linear layer, Tensor x, Tensor a, Tensor b) {
    ScalarType dtype = computed(x);
    Tensor in = x.to(dtype);
    Tensor bias = layer.bias();
    Tensor y = layer.base(in, layer.weight().to(dtype), bias == null ? null : bias.to(dtype));
    grid(a, b, dtype).multiply(in, s, y);
    return y.to(x.scalar_type().intern());
  }

  private List<@Nullable Tensor> backward(Tensor gradient, List<Tensor> saved, boolean[] wanted) {
    ScalarType dtype = computed(gradient);
    Tensor g = gradient.to(dtype); // [T, out]
    Tensor x = saved.get(0);
    Tensor in = x.to(dtype);
    BlockGrid grid = grid(saved.get(1), saved.get(2), dtype);
    Tensor blocks = grid.split(g); // [k, T, O]
    Tensor db = null;
    if (wanted[2]) {
      db = grid.hidden(in).transpose(1, 2).bmm(blocks).mul_(new Scalar(s));
    }
    Tensor dx = null;
    Tensor da = null;
    if (wanted[0] || wanted[1]) {
      Tensor dh = grid.swap(blocks.bmm(grid.b().transpose(1, 2))).mul_(new Scalar(s));
      da = wanted[1] ? grid.split(in).transpose(1, 2).bmm(dh) : null;
      if (wanted[0]) {
        dx = base == null ? in.new_empty(in.size(0), in.size(1)) : g.mm(saved.get(3).to(dtype));
        Scalar keep = new Scalar(base == null ? 0 : 1);
        grid.split(dx).baddbmm_(dh, grid.a().transpose(1, 2), keep, new Scalar(1));
      }
    }
    return Arrays.asList(as(x, dx), as(saved.get(1), da), as(saved.get(2), db));
  }

  private static @Nullable Tensor as(Tensor input, @Nullable Tensor gradient) {
    return gradient == null ? null : gradient.to(input.scalar_type().intern());
  }
}
