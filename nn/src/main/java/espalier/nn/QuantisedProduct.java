package espalier.nn;

import static org.bytedeco.pytorch.global.torch.addmm_out;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.mm_out;

import java.util.Collections;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Products with a quantised weight: some rows of it are decoded, multiplied by and dropped, in
 * forward and again in backward, which keeps nothing at all.
 *
 * <pre>
 *     y = x Wᵀ + bias     dx = g W
 * </pre>
 */
final class QuantisedProduct {

  /** Values that are decoded for one product: 32 MB in bfloat16. */
  private static final long PANEL = 1 << 24;

  private final Linear layer;
  private final QuantisedWeight weight;
  private final long rows; // of a panel

  private QuantisedProduct(Linear layer, QuantisedWeight weight, long panel) {
    this.layer = layer;
    this.weight = weight;
    rows = Math.clamp(panel / Math.max(1, weight.in()), 1, weight.out());
  }

  /**
   * The product, in the dtype of x.
   *
   * @param x [..., in]
   * @param bias [out], or null
   * @return [..., out]
   */
  static Tensor of(Linear layer, QuantisedWeight weight, Tensor x, @Nullable Tensor bias) {
    return of(layer, weight, x, bias, PANEL);
  }

  static Tensor of(
      Linear layer, QuantisedWeight weight, Tensor x, @Nullable Tensor bias, long panel) {
    var product = new QuantisedProduct(layer, weight, panel);
    boolean learned = bias != null && bias.requires_grad();
    Tensor own = learned ? null : bias;
    Tensor flat = Features.rows(x);
    Tensor y =
        CustomFunction.apply(
            List.of(flat),
            List.of(),
            () -> product.forward(flat, own),
            (g, _) -> Collections.singletonList(product.backward(g)));
    Tensor shaped = Features.shaped(y, x);
    return learned ? shaped.add(bias) : shaped;
  }

  private Tensor forward(Tensor x, @Nullable Tensor bias) {
    ScalarType dtype = computed(x);
    Tensor in = x.to(dtype);
    Tensor b = bias == null ? null : bias.to(dtype);
    Tensor w = scratch(dtype, x);
    Tensor y;
    if (rows == weight.out()) {
      weight.decode(0, w);
      y = layer.base(in, w, b);
    } else {
      y = in.new_empty(in.size(0), weight.out());
      panels(
          (from, length) -> {
            Tensor part = w.narrow(0, 0, length);
            weight.decode(from, part);
            Tensor to = y.narrow(1, from, length);
            if (b == null) {
              mm_out(to, in, part.t());
            } else {
              addmm_out(to, b.narrow(0, from, length), in, part.t());
            }
          });
    }
    return y.to(x.scalar_type().intern());
  }

  private Tensor backward(Tensor gradient) {
    ScalarType dtype = computed(gradient);
    Tensor g = gradient.to(dtype);
    Tensor w = scratch(dtype, g);
    Tensor dx;
    if (rows == weight.out()) {
      weight.decode(0, w);
      dx = g.mm(w);
    } else {
      // Summed in float32: a sum of panels in half precision would be rounded once for each.
      dx = g.new_zeros(g.size(0), weight.in()).to(HalfPrecision.widened(dtype));
      Tensor sum = dx;
      panels(
          (from, length) -> {
            Tensor part = w.narrow(0, 0, length);
            weight.decode(from, part);
            sum.add_(g.narrow(1, from, length).mm(part));
          });
    }
    return dx.to(gradient.scalar_type().intern());
  }

  private interface Panel {
    void at(long from, long length);
  }

  private void panels(Panel body) {
    for (long from = 0; from < weight.out(); from += rows) {
      try (var _ = new PointerScope()) {
        body.at(from, Math.min(rows, weight.out() - from));
      }
    }
  }

  private Tensor scratch(ScalarType dtype, Tensor like) {
    return empty(
        new long[] {rows, weight.in()},
        new TensorOptions(dtype).device(new DeviceOptional(like.device())),
        new MemoryFormatOptional());
  }

  /** The weight's dtype; half precision that would be emulated is widened. */
  private ScalarType computed(Tensor rowsOfInput) {
    return switch (weight.dtype()) {
      case BFloat16, Half ->
          HalfPrecision.lacking() && rowsOfInput.is_cpu() ? ScalarType.Float : weight.dtype();
      default -> weight.dtype();
    };
  }
}
