package espalier.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorArrayRefOptional;

/**
 * Gradient checkpointing: a block keeps its input only and runs again in backward.
 *
 * @see <a href="https://arxiv.org/abs/1604.06174">Training Deep Nets with Sublinear Memory Cost</a>
 */
public final class Recompute {

  /** Which of the two runs of a block is under way. */
  public enum Run {
    /** None: the block is not checkpointed, or nothing wants a gradient. */
    NONE,
    /** The one that only gives the output. */
    FIRST,
    /** The one in backward. */
    AGAIN
  }

  private static final ScopedValue<Run> RUN = ScopedValue.newInstance();

  private Recompute() {}

  /** Which of the two runs of a checkpointed block the caller is in. */
  public static Run run() {
    return RUN.orElse(Run.NONE);
  }

  /**
   * Runs {@code block} without keeping what it computes inside.
   *
   * <p>Parameters inside the block get their gradients from the second run directly. Dropout draws
   * the same masks in both runs.
   *
   * @param x the block's input
   * @param block one tensor in, one out; it must do the same when run again
   */
  public static Tensor in(Tensor x, UnaryOperator<Tensor> block) {
    if (!GradMode.is_enabled()) {
      return block.apply(x);
    }
    // A frozen embedding's output needs no gradient, but without one the block would have no
    // backward and its parameters would learn nothing.
    Tensor input = x.requires_grad() ? x : x.detach().set_requires_grad(true);
    Tensor before = RandomState.save();
    Tensor y;
    try (var _ = new NoGradGuard()) {
      y = Scope.result(() -> ScopedValue.where(RUN, Run.FIRST).call(() -> block.apply(input)));
    }
    // What the scoped values say now must also hold when backward runs the block again.
    List<String> rows = Rows.bound() ? Rows.ADAPTERS.get() : null;
    TokenIds tokens = TokenIds.current();
    return CustomFunction.join(
        y,
        List.of(input),
        List.of(input, before),
        (g, saved) -> {
          Tensor now = RandomState.save();
          Tensor leaf = saved.get(0).detach().set_requires_grad(true);
          RandomState.restore(saved.get(1));
          try (var _ = Scope.graph();
              var _ = new AutoGradMode(true)) {
            Supplier<Tensor> run =
                () -> ScopedValue.where(RUN, Run.AGAIN).call(() -> block.apply(leaf));
            Supplier<Tensor> known = tokens == null ? run : () -> tokens.during(run);
            Tensor again =
                rows == null
                    ? known.get()
                    : ScopedValue.where(Rows.ADAPTERS, rows).call(known::get);
            again.backward(g, new BoolOptional(false), false, new TensorArrayRefOptional());
          } finally {
            RandomState.restore(now);
          }
          return new ArrayList<>(Collections.singletonList(leaf.grad()));
        });
  }
}
