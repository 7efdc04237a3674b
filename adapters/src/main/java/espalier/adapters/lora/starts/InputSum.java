package espalier.adapters.lora.starts;

import static org.bytedeco.pytorch.global.torch.cat;

import espalier.adapters.NotFiniteException;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * The sum of XᵀX over some calls. It does not change; a call makes another one of it. The rows of
 * the latest calls wait until there are enough of them for a product worth its while.
 *
 * <p>Layers that stand at the same sum hold it together: it is freed when the last of them {@link
 * #left leaves} it.
 */
final class InputSum {

  /** The sum of no calls. */
  static final InputSum NONE = new InputSum(null, List.of(), 0);

  /** So many rows are multiplied at once. */
  private static final long ENOUGH = 256;

  private final @Nullable Tensor total; // [in, in]
  private final List<Tensor> waiting; // [n, in] each
  private final int calls;
  private int holders;

  private InputSum(@Nullable Tensor total, List<Tensor> waiting, int calls) {
    this.total = total;
    this.waiting = waiting;
    this.calls = calls;
  }

  /**
   * The sum with one call more.
   *
   * @param rows [n, in]
   * @param path for errors
   * @throws NotFiniteException if the sum is not finite any more
   */
  InputSum plus(Tensor rows, String path) {
    var more = new ArrayList<>(waiting);
    more.add(rows);
    long count = more.stream().mapToLong(some -> some.size(0)).sum();
    Tensor sum = total;
    if (count >= ENOUGH) {
      sum = summed(more, path);
      more.clear();
    }
    var owned = new ArrayList<Tensor>();
    more.forEach(some -> owned.add(Scope.own(some)));
    return new InputSum(sum == null ? null : Scope.own(sum), owned, calls + 1);
  }

  private Tensor summed(List<Tensor> blocks, String path) {
    Tensor rows = blocks.size() == 1 ? blocks.getFirst() : cat(vector(blocks));
    Tensor sum = total == null ? rows.t().matmul(rows) : total.addmm(rows.t(), rows);
    if (!sum.isfinite().all().item_bool()) { // waits for the device: once a product
      throw new NotFiniteException(
          "%s: the covariance of its inputs is not finite; the data makes the model overflow, an input is all zero, or use_float16_for_covariance must be off"
              .formatted(path));
    }
    return sum;
  }

  private static TensorVector vector(List<Tensor> tensors) {
    return new TensorVector(tensors.toArray(Tensor[]::new));
  }

  /** The mean over the calls, [in, in]; there must be one. */
  Tensor mean(String path) {
    Tensor sum = waiting.isEmpty() && total != null ? total : summed(waiting, path);
    return sum.div(new Scalar((double) calls));
  }

  int calls() {
    return calls;
  }

  InputSum taken() {
    holders++;
    return this;
  }

  /** Frees the sum if no layer stands at it any more. */
  void left() {
    if (--holders == 0) {
      if (total != null) {
        total.close();
      }
      waiting.forEach(Tensor::close);
    }
  }
}
