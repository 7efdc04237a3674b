package espalier.nn;

import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * What ranks pass to each other inside a forward, each with the backward that belongs to it. They
 * come in pairs: what one does forward, its partner does backward.
 *
 * @see <a href="https://arxiv.org/abs/1909.08053">Megatron-LM, section 3</a>
 */
public final class Exchange {

  private Exchange() {}

  /** A value that each rank has whole enters a split computation: its gradients are summed. */
  public static Tensor copied(Collective ranks, Tensor x) {
    if (!CustomFunction.needed(List.of(x))) {
      return x;
    }
    return CustomFunction.apply(
        List.of(x),
        List.of(),
        x::detach,
        (g, _) -> {
          Tensor sum = g.contiguous().clone(); // the gradient may be another node's too
          ranks.sum(sum);
          return List.of(sum);
        });
  }

  /**
   * Partial values become their sum, which each rank has whole; gradients pass.
   *
   * @param x a fresh result that nothing else reads; it is written to
   */
  public static Tensor summed(Collective ranks, Tensor x) {
    return CustomFunction.apply(
        List.of(x),
        List.of(),
        () -> {
          Tensor sum = x.detach();
          ranks.sum(sum);
          return sum;
        },
        (g, _) -> List.of(g));
  }

  /** Slices of the last dimension are put together; of the gradient each rank takes its slice. */
  public static Tensor gathered(Collective ranks, Tensor x) {
    var last = new Shard(ranks, -1);
    return CustomFunction.apply(
        List.of(x), List.of(), () -> last.whole(x), (g, _) -> List.of(last.of(g)));
  }

  /** Each rank takes its slice of the last dimension; gradients of the slices are put together. */
  public static Tensor own(Collective ranks, Tensor x) {
    var last = new Shard(ranks, -1);
    return CustomFunction.apply(
        List.of(x), List.of(), () -> last.of(x), (g, _) -> List.of(last.whole(g)));
  }
}
