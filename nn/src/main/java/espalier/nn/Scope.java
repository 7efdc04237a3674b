package espalier.nn;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Supplier;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
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
  private final Set<Long> places = new HashSet<>(); // of what is kept
  private final boolean graph;
  private final KeptMemory memory = new KeptMemory();
  private final Scratch.Stack scratch = new Scratch.Stack();

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
    return living(body, List::of);
  }

  /** Runs {@code body} in a scope of its own; the tensors that it returns live on, as above. */
  public static Map<String, Tensor> results(Supplier<Map<String, Tensor>> body) {
    return living(body, Map::values);
  }

  /** The same for tensors in an order. */
  public static List<Tensor> listed(Supplier<List<Tensor>> body) {
    return living(body, list -> list);
  }

  private static <T> T living(Supplier<T> body, Function<T, Collection<Tensor>> tensors) {
    PointerScope outer = PointerScope.getInnerScope();
    try (var _ = new PointerScope()) {
      T result = body.get();
      for (Tensor tensor : tensors.apply(result)) {
        if (outer == null) {
          tensor.retainReference();
        } else {
          outer.attach(tensor);
        }
      }
      return result;
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

  /**
   * Uninitialised memory for a result that backward may keep, in the dtype of {@code like} and
   * where that is. It is to be taken before the temporaries that the result is computed from.
   */
  public static Tensor room(Tensor like, long... shape) {
    return room(like.scalar_type().intern(), like, shape);
  }

  /** The same in another dtype. */
  public static Tensor room(ScalarType dtype, Tensor like, long... shape) {
    Scope graph = currentGraph();
    // The first run of a checkpointed block keeps its output alone, which would hold a whole block.
    return graph == null || !like.is_cpu() || Recompute.run() == Recompute.Run.FIRST
        ? like.new_empty(shape, options(like, dtype))
        : graph.memory.take(dtype, shape);
  }

  static TensorOptions options(Tensor like, ScalarType dtype) {
    return like.options().dtype(new ScalarTypeOptional(dtype));
  }

  /** The stack of temporaries of this thread's outermost graph; null if none is open. */
  static Scratch.@Nullable Stack scratch() {
    Scope graph = GRAPHS.get().peekLast();
    return graph == null ? null : graph.scratch;
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
    for (Saved each : saved) {
      if (each instanceof Saved.Kept(var tensor, _) && tensor.numel() > 0) {
        places.add(tensor.data_ptr().address());
      }
    }
  }

  /**
   * The tensor itself, to be written to without a graph, or a copy of it where it is a parameter or
   * a {@linkplain CustomFunction custom function} of this thread's graph keeps it.
   */
  public static Tensor writable(Tensor tensor) {
    Scope graph = currentGraph();
    boolean kept =
        graph != null && tensor.numel() > 0 && graph.places.contains(tensor.data_ptr().address());
    if (!kept && !(tensor.requires_grad() && tensor.is_leaf())) {
      return tensor;
    }
    try (var _ = new NoGradGuard()) {
      return room(tensor, tensor.shape()).copy_(tensor);
    }
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
          if (saved instanceof Saved.Kept(var tensor, _)) {
            boolean shared = memory.holds(memory(tensor));
            if (seen.add(shared ? tensor.data_ptr().address() : memory(tensor))) {
              bytes += shared ? tensor.numel() * tensor.element_size() : tensor.storage().nbytes();
            }
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
      memory.close();
      scratch.close();
      pointers.close();
    }
  }
}
