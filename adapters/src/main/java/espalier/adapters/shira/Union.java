package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.stack;
import static org.bytedeco.pytorch.global.torch.unique_consecutive;

import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The entries of several adapters on one layer, with the sums of their values.
 *
 * @param positions int64 [K], ascending and distinct
 * @param values [K]
 */
record Union(long out, long in, Tensor positions, Tensor values) {

  /** Adds adapters up by their weights and their present scales. */
  static Union of(Map<String, ShiraLinear> adapters, Map<String, Double> weights) {
    var values = new TensorVector();
    adapters.forEach(
        (name, adapter) -> {
          double factor = Objects.requireNonNull(weights.get(name)) * adapter.scale();
          values.push_back(adapter.values().mul(new Scalar(factor)));
        });
    var sorted = joined(adapters.values()).sort();
    var unique = unique_consecutive(sorted.get0(), true, false, new LongOptional());
    Tensor each = cat(values, 0).index_select(0, sorted.get1());
    Tensor sums = each.new_zeros(unique.get0().size(0)).index_add_(0, unique.get1(), each);
    Support any = adapters.values().iterator().next().support();
    return new Union(any.out(), any.in(), unique.get0(), sums);
  }

  /** All entries of these adapters, each once, ascending. */
  static Tensor positions(Collection<ShiraLinear> adapters) {
    return unique_consecutive(joined(adapters).sort().get0()).get0();
  }

  private static Tensor joined(Collection<ShiraLinear> adapters) {
    var all = new TensorVector();
    adapters.forEach(adapter -> all.push_back(adapter.support().positions()));
    return cat(all, 0);
  }

  /** The least r for which r·(out + in) entries are enough. */
  int leastR() {
    return Math.toIntExact(Math.ceilDiv(positions.size(0), out + in));
  }

  boolean fits(int r) {
    return r * (out + in) <= out * in;
  }

  /** With zero values at the lowest free entries, where the layer has that many. */
  Union filledUp(int r) {
    long missing = r * (out + in) - positions.size(0);
    if (missing <= 0 || !fits(r)) {
      return this;
    }
    // so many entries from the start hold enough free ones
    long reach = positions.size(0) + missing;
    Tensor free = ones(new long[] {reach}, new TensorOptions(ScalarType.Bool));
    free.index_fill_(0, positions.masked_select(positions.lt(new Scalar(reach))), new Scalar(0));
    Tensor added = free.nonzero().view(-1).narrow(0, 0, missing);
    return new Union(
        out,
        in,
        MaskChoice.joined(positions, added),
        MaskChoice.joined(values, values.new_zeros(missing)));
  }

  /** The same entries in the transpose of the weight, as a file of a Conv1D has them. */
  Union turned() {
    Turned turned = Turned.of(positions, values, out, in);
    return new Union(in, out, turned.positions(), turned.values());
  }

  /** Rows and columns, int64 [2, K]. */
  Tensor indices() {
    var both = new TensorVector();
    both.push_back(positions.floor_divide(new Scalar(in)));
    both.push_back(positions.remainder(new Scalar(in)));
    return stack(both, 0);
  }
}
