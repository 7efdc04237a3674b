package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.mm_out;

import espalier.nn.BranchProduct;
import espalier.nn.CustomFunction;
import espalier.nn.Features;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.Scratch;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Products with a weight of which a few entries are changed. Backward keeps x alone: the weight
 * with the entries in it is there, or is made again.
 */
final class SparseProduct {

  private SparseProduct() {}

  /**
   * The layer's output and the adapter's together.
   *
   * @param x [..., in]
   * @return [..., out]
   */
  static Tensor whole(ShiraLinear adapter, Tensor x) {
    Linear layer = adapter.layer();
    Tensor flat = Features.rows(x);
    List<Tensor> inputs = List.of(flat, adapter.values());
    boolean learning = layer.training() || CustomFunction.needed(inputs);
    if (!learning && fewRows(adapter, flat)) {
      return adapter.forward(x, layer.base(x));
    }
    Tensor bias = layer.bias();
    boolean learned = bias != null && bias.requires_grad();
    boolean toValues = adapter.values().requires_grad();
    boolean toInput = flat.requires_grad();
    Tensor y =
        CustomFunction.apply(
            inputs,
            toValues ? List.of(flat) : List.of(),
            () ->
                BranchProduct.value(
                    layer, flat, layer.adapters().weightWith(adapter), learned ? null : bias),
            (g, saved) -> {
              Tensor dx = toInput ? g.new_empty(g.size(0), adapter.support().in()) : null;
              boolean emulated = HalfPrecision.emulated(g);
              ScalarType dtype = emulated ? ScalarType.Float : g.scalar_type().intern();
              try (var scratch = Scratch.frame()) {
                Tensor computed = scratch.as(g, dtype);
                if (dx != null) {
                  times(computed, layer.adapters().weightWith(adapter), dx, scratch);
                }
                return Arrays.asList(
                    dx, toValues ? gradient(adapter, computed, saved.getFirst()) : null);
              }
            });
    return Features.shaped(learned ? y.add(bias) : y, x);
  }

  /**
   * The adapter's part alone: x ΔWᵀ.
   *
   * @param x [..., in]
   * @return [..., out], float32 or wider
   */
  static Tensor branch(ShiraLinear adapter, Tensor x) {
    Tensor flat = Features.rows(x);
    List<Tensor> inputs = List.of(flat, adapter.values());
    boolean toValues = adapter.values().requires_grad();
    boolean toInput = flat.requires_grad();
    ScalarType dtype = flat.scalar_type().intern(); // a scope may have freed x by backward
    Tensor y =
        CustomFunction.apply(
            inputs,
            toValues ? List.of(flat) : List.of(),
            () -> fewRows(adapter, flat) ? byRow(adapter, flat) : dense(adapter, flat),
            (g, saved) ->
                Arrays.asList(
                    toInput ? times(g, adapter.deltaWeight()).to(dtype) : null,
                    toValues ? gradient(adapter, g, saved.getFirst()) : null));
    return Features.shaped(y, x);
  }

  /**
   * Whether so few rows meet the entries that to pick them costs less than to copy the weight: per
   * row an entry was measured to cost about what copying one entry of the weight does.
   */
  private static boolean fewRows(ShiraLinear adapter, Tensor flat) {
    return flat.is_cpu() && flat.size(0) * adapter.support().count() <= adapter.support().size();
  }

  private static Tensor byRow(ShiraLinear adapter, Tensor flat) {
    Tensor x = HalfPrecision.widened(flat);
    Tensor values = adapter.values().to(x.scalar_type().intern()).mul(new Scalar(adapter.scale()));
    Tensor matrix = adapter.support().sparseAgain(values);
    Tensor y = x.new_empty(x.size(0), adapter.support().out());
    for (long row = 0; row < x.size(0); row++) {
      y.select(0, row).copy_(matrix.mv(x.select(0, row)));
    }
    return y;
  }

  private static Tensor dense(ShiraLinear adapter, Tensor flat) {
    Tensor x = HalfPrecision.widened(flat);
    return x.mm(adapter.deltaWeight().to(x.scalar_type().intern()).t());
  }

  private static Tensor gradient(ShiraLinear adapter, Tensor g, Tensor x) {
    return EntryGradient.of(g, x, adapter.support(), adapter.scale())
        .to(adapter.values().scalar_type().intern());
  }

  /** g W, into dx. */
  private static void times(Tensor g, Tensor weight, Tensor dx, Scratch scratch) {
    ScalarType dtype = g.scalar_type().intern();
    scratch.written(dx, dtype, to -> mm_out(to, g, scratch.as(weight, dtype)));
  }

  private static Tensor times(Tensor g, Tensor weight) {
    return g.mm(weight.to(g.scalar_type().intern()));
  }
}
