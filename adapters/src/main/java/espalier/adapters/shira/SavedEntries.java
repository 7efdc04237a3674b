package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.diff;

import espalier.nn.Scope;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The trained entries of one layer as a file has them, checked and in order.
 *
 * @param positions int64 [K], ascending and distinct
 * @param values [K]
 * @param compact whether the file has gaps
 */
record SavedEntries(Tensor positions, Tensor values, boolean compact) {

  /** The largest whole number up to which float32 has all of them. */
  private static final double EXACT = 1 << 24;

  static SavedEntries of(Map<String, Tensor> saved, long out, long in) {
    Tensor values = saved.get(ShiraLinear.VALUES);
    Tensor gaps = saved.get(ShiraLinear.GAPS);
    Tensor where = gaps != null ? gaps : saved.get(ShiraLinear.INDICES);
    if (values == null || where == null) {
      throw new IllegalArgumentException(
          "the file has %s without the other of shira_weight and shira_indices; values mean nothing without the places where they stand"
              .formatted(saved.keySet()));
    }
    boolean compact = where.dim() == 1;
    List<Tensor> entries =
        Scope.listed(
            () ->
                ordered(
                    compact ? fromGaps(where, out, in) : fromIndices(where, out, in), values, in));
    return new SavedEntries(entries.get(0), entries.get(1), compact);
  }

  /** The same entries in the transpose of the matrix, which has so many rows and columns. */
  SavedEntries turned(long rows, long columns) {
    var turned = Turned.of(positions, values, rows, columns);
    return new SavedEntries(turned.positions(), turned.values(), compact);
  }

  private static Tensor fromGaps(Tensor gaps, long out, long in) {
    if (!Gaps.are(gaps)) {
      throw new IllegalArgumentException(
          "shira_gaps is of type %s and has %d entries but is made of bytes, four of which say how long a row is"
              .formatted(gaps.scalar_type().intern(), gaps.numel()));
    }
    Tensor positions = Gaps.positions(gaps);
    long width = Gaps.width(gaps);
    Tensor rows = positions.floor_divide(new Scalar(width));
    Tensor columns = positions.remainder(new Scalar(width));
    return flat("shira_gaps", rows, columns, out, in);
  }

  private static Tensor flat(String name, Tensor rows, Tensor columns, long out, long in) {
    require(name, rows, out, "row");
    require(name, columns, in, "column");
    return rows.mul(new Scalar(in)).add(columns);
  }

  private static Tensor fromIndices(Tensor indices, long out, long in) {
    if (indices.is_floating_point()
        && !(indices.to(ScalarType.Double).abs().max().item_double() <= EXACT)) {
      throw new IllegalArgumentException(
          "shira_indices are floating-point numbers beyond 2^24, where not every whole number"
              + " exists; save them as int32");
    }
    Tensor whole = (indices.is_floating_point() ? indices.round() : indices).to(ScalarType.Long);
    return flat("shira_indices", whole.select(0, 0), whole.select(0, 1), out, in);
  }

  private static void require(String name, Tensor numbers, long size, String what) {
    long least = numbers.min().item_long();
    long most = numbers.max().item_long();
    if (least < 0 || most >= size) {
      throw new IllegalArgumentException(
          "%s has the %s %d but there are %d; the file belongs to another model"
              .formatted(name, what, least < 0 ? least : most, size));
    }
  }

  private static List<Tensor> ordered(Tensor positions, Tensor values, long in) {
    if (positions.size(0) != values.size(0)) {
      throw new IllegalArgumentException(
          "the file has %d values but %d entries to put them; both come from one file"
              .formatted(values.size(0), positions.size(0)));
    }
    var sorted = positions.sort();
    Tensor inOrder = new Tensor(sorted.get0()); // the pair's own handle dies with the pair
    Tensor twice = diff(inOrder).eq(new Scalar(0));
    if (twice.any().item_bool()) {
      long at =
          inOrder.narrow(0, 1, inOrder.size(0) - 1).masked_select(twice).select(0, 0).item_long();
      throw new IllegalArgumentException(
          "shira_indices has the entry [%d, %d] twice; each entry has one value"
              .formatted(at / in, at % in));
    }
    return List.of(inOrder, values.index_select(0, sorted.get1()));
  }
}
