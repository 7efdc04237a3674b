package espalier.nn;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A value that costs little to compute and much to keep, such as the output of a norm or of an
 * activation: {@linkplain CustomFunction custom functions} that would keep it until backward keep
 * what it was computed from instead, which another function keeps anyway. Those that share it also
 * share what is computed again.
 *
 * @see <a href="https://arxiv.org/abs/2205.05198">Reducing Activation Recomputation in Large
 *     Transformer Models</a>, selective recomputation
 */
public final class Remade {

  /** Values of this thread whose readers are being computed, innermost first. */
  private static final ThreadLocal<Deque<Remade>> READ = ThreadLocal.withInitial(ArrayDeque::new);

  private final long address;
  private final long count;
  private final List<Tensor> sources = new ArrayList<>();
  private final Function<List<Tensor>, Tensor> formula;
  private int holders = 1; // the readers below, and until they are done the forward itself
  private @Nullable Tensor again;

  private Remade(Tensor value, List<Tensor> sources, Function<List<Tensor>, Tensor> formula) {
    address = value.data_ptr().address();
    count = value.numel();
    for (Tensor source : sources) {
      try (var _ = new PointerScope()) {
        this.sources.add(Scope.own(source.detach()));
      }
    }
    this.formula = formula;
  }

  /**
   * Applies {@code reader} to a value that none of its custom functions is to keep.
   *
   * @param value contiguous, and not written to
   * @param sources what it was computed from; kept, and not written to, until the last backward
   * @param formula from the sources to the value, the same bits each time; runs without gradients
   * @return what the reader returns
   */
  public static <T> T during(
      Tensor value,
      List<Tensor> sources,
      Function<List<Tensor>, Tensor> formula,
      Function<Tensor, T> reader) {
    if (!GradMode.is_enabled() || !value.is_contiguous() || value.numel() == 0) {
      return reader.apply(value);
    }
    Deque<Remade> read = READ.get();
    Remade remade;
    try (var _ = new PointerScope()) {
      remade = new Remade(value, sources, formula);
    }
    read.push(remade);
    try {
      return reader.apply(value);
    } finally {
      read.remove(remade);
      remade.release();
    }
  }

  /** The value that a tensor is a view of as a whole, or null if it has to be kept itself. */
  static @Nullable Remade of(Tensor tensor) {
    Deque<Remade> read = READ.get();
    if (read.isEmpty() || !tensor.is_contiguous()) {
      return null;
    }
    try (var _ = new PointerScope()) {
      long address = tensor.data_ptr().address();
      for (Remade each : read) {
        if (each.address == address && each.count == tensor.numel()) {
          each.holders++;
          return each;
        }
      }
    }
    return null;
  }

  /** The value, the second time; it lives until the last holder releases it. */
  Tensor value() {
    Tensor value = again;
    if (value == null) {
      try (var _ = new NoGradGuard()) {
        value = Scope.owned(() -> formula.apply(sources));
      }
      again = value;
    }
    return value;
  }

  void release() {
    holders--;
    if (holders > 0) {
      return;
    }
    sources.forEach(Tensor::close);
    sources.clear();
    if (again != null) {
      again.close();
      again = null;
    }
  }
}
