package espalier.nn;

import static org.bytedeco.pytorch.global.torch.tensor;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Which row of the batch has which adapter. It is the one thing that crosses the layers from above,
 * so it goes by a scoped value:
 *
 * <pre>{@code
 * ScopedValue.where(Rows.ADAPTERS, List.of("french", Rows.BASE, "legal")).call(forward)
 * }</pre>
 */
public final class Rows {

  /** The adapter of each row, or {@link #BASE}. Overrides the active list while it is bound. */
  public static final ScopedValue<List<String>> ADAPTERS = ScopedValue.newInstance();

  /** The name for a row without any adapter. */
  public static final String BASE = "__base__";

  private Rows() {}

  static boolean bound() {
    return ADAPTERS.isBound();
  }

  static Tensor forward(Adaptable layer, Map<String, Adapter> stack, Tensor x) {
    List<String> rows = ADAPTERS.get();
    if (x.size(0) != rows.size()) {
      throw new IllegalStateException(
          "a %s sees %d rows but %d names of adapters were given; a layer that does not see the batch, such as a table of positions, can not have an adapter a row"
              .formatted(layer.typeName(), x.size(0), rows.size()));
    }
    List<Adapter> distinct = new ArrayList<>();
    int[] choice = new int[rows.size()];
    for (int i = 0; i < choice.length; i++) {
      Adapter adapter = stack.get(rows.get(i));
      choice[i] = adapter == null ? -1 : distinct.indexOf(adapter);
      if (adapter != null && choice[i] < 0) {
        adapter.requireReady(x);
        choice[i] = distinct.size();
        distinct.add(adapter);
      }
    }
    Tensor y = layer.base(x);
    if (distinct.isEmpty()) {
      return y;
    }
    Adapter one = distinct.getFirst();
    boolean alike = distinct.stream().allMatch(a -> a.getClass() == one.getClass());
    ScalarType dtype = y.scalar_type().intern();
    return alike
        ? one.forwardRows(x, y, distinct, choice)
        : gathered(x, HalfPrecision.widened(y), distinct, choice).to(dtype);
  }

  /** Runs each adapter on the rows that chose it. */
  static Tensor gathered(Tensor x, Tensor y, List<Adapter> adapters, int[] choice) {
    Tensor out = y;
    for (int i = 0; i < adapters.size(); i++) {
      int adapter = i;
      long[] rows =
          IntStream.range(0, choice.length)
              .filter(row -> choice[row] == adapter)
              .asLongStream()
              .toArray();
      Tensor index = tensor(rows);
      Tensor part =
          TokenIds.forRows(
                  rows,
                  () ->
                      adapters
                          .get(adapter)
                          .forward(x.index_select(0, index), y.index_select(0, index)))
              .to(y.scalar_type().intern());
      out = out.index_copy(0, index, part);
    }
    return out;
  }

  /**
   * Checks a list of names against a batch.
   *
   * @param refusal why mixed rows are impossible at present, or null
   * @throws IllegalArgumentException if there is not one name for each row
   */
  public static void check(List<String> names, long batch, @Nullable String refusal) {
    if (refusal != null) {
      throw new IllegalStateException(refusal);
    }
    if (names.size() != batch) {
      throw new IllegalArgumentException(
          "adapter_names has %d names %s but the batch has %d rows; give one name a row, %s for none"
              .formatted(names.size(), Arrays.toString(names.toArray()), batch, BASE));
    }
  }
}
