package espalier.nn;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Lifetimes of native memory. A scope frees, when it closes, every handle that was made in it on
 * this thread; {@link #result} hands one tensor out to the scope around, {@link #own} takes one out
 * of all scopes.
 *
 * <pre>{@code
 * try (var _ = Scope.graph()) {          // one forward and backward
 *   loss(model.forward(ids)).backward();
 * }
 * }</pre>
 */
public final class Scope implements AutoCloseable {

  /** Graph scopes of this thread, innermost first: what custom functions keep until backward. */
  private static final ThreadLocal<Deque<Scope>> GRAPHS = ThreadLocal.withInitial(ArrayDeque::new);

  private final PointerScope pointers = new PointerScope();
  private final List<Runnable> releases = new ArrayList<>();
  private final List<List<Saved>> kept = new ArrayList<>();
  private final boolean graph;

  private Scope(boolean graph) {
    this.graph = graph;
    if (graph) {
      GRAPHS.get().push(this);
    }
  }

  /** Opens a scope for temporaries. */
  public static Scope open() {
    return new Scope(false);
  }

  /**
   * Opens a scope that holds an autograd graph: forward, backward, and what the {@linkplain
   * CustomFunction custom functions} between them must keep.
   */
  public static Scope graph() {
    Native.prepare();
    return new Scope(true);
  }

  /** Runs {@code body} in a scope of its own; its result lives on in the scope around, if any. */
  public static Tensor result(Supplier<Tensor> body) {
    PointerScope outer = PointerScope.getInnerScope();
    try (var _ = new PointerScope()) {
      Tensor tensor = body.get();
      if (outer == null) {
        tensor.retainReference();
      } else {
        outer.attach(tensor);
      }
      return tensor;
    }
  }

  /** Runs {@code body} in a scope of its own; the tensors that it returns live on, as above. */
  public static Map<String, Tensor> results(Supplier<Map<String, Tensor>> body) {
    PointerScope outer = PointerScope.getInnerScope();
    try (var _ = new PointerScope()) {
      Map<String, Tensor> tensors = body.get();
      for (Tensor tensor : tensors.values()) {
        if (outer == null) {
          tensor.retainReference();
        } else {
          outer.attach(tensor);
        }
      }
      return tensors;
    }
  }

  /**
   * Returns a handle to the same tensor that no scope frees. The caller closes it, once.
   *
   * @param tensor any tensor; its own handle is left as it is
   */
  public static Tensor own(Tensor tensor) {
    // A second handle made in a scope of its own: retaining the given one would do nothing while a
    // longer scope still holds it.
    try (var _ = new PointerScope()) {
      return new Tensor(tensor).retainReference();
    }
  }

  /** Runs {@code body} in a scope of its own and takes its result out of all scopes. */
  public static Tensor owned(Supplier<Tensor> body) {
    try (var _ = new PointerScope()) {
      return own(body.get());
    }
  }

  /** What must happen when the innermost graph scope ends; null if none is open. */
  static @Nullable Scope currentGraph() {
    return GRAPHS.get().peek();
  }

  void onClose(Runnable release) {
    releases.add(release);
  }

  /** What a custom function of this graph keeps; the list empties as its backward runs. */
  void keeps(List<Saved> saved) {
    kept.add(saved);
  }

  /**
   * How many bytes the {@linkplain CustomFunction custom functions} of this graph keep for backward
   * now, each piece of memory counted once.
   *
   * @param besides tensors that are there anyway, such as weights and inputs; what they share is
   *     not counted
   */
  public long keptBytes(Collection<Tensor> besides) {
    try (var _ = new PointerScope()) {
      var seen = new HashSet<Long>();
      besides.forEach(tensor -> seen.add(memory(tensor)));
      long bytes = 0;
      for (List<Saved> each : kept) {
        for (Saved saved : each) {
          if (saved instanceof Saved.Kept(var tensor) && seen.add(memory(tensor))) {
            bytes += tensor.storage().nbytes();
          }
        }
      }
      return bytes;
    }
  }

  private static long memory(Tensor tensor) {
    return tensor.storage().data().address();
  }

  /** Keeps a pointer alive until this scope closes. */
  void keep(Pointer pointer) {
    pointer.retainReference();
    releases.add(pointer::close);
  }

  @Override
  public void close() {
    if (graph) {
      GRAPHS.get().remove(this);
    }
    try {
      releases.forEach(Runnable::run);
    } finally {
      releases.clear();
      kept.clear();
      pointers.close();
    }
  }
}
