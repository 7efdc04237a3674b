package espalier.nn;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.create_gradient_edge;
import static org.bytedeco.pytorch.global.torch.empty;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Edge;
import org.bytedeco.pytorch.EdgeVector;
import org.bytedeco.pytorch.FunctionPostHook;
import org.bytedeco.pytorch.FunctionPreHook;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Node;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * The one mechanism for an autograd function of our own: a value that was computed without a graph
 * is joined to the graph of its inputs, with a backward written by hand.
 *
 * <pre>{@code
 * return CustomFunction.apply(
 *     List.of(a, b),
 *     List.of(a, b),                                   // what backward needs
 *     () -> a.mul(b),
 *     (g, saved) -> List.of(g.mul(saved.get(1)), g.mul(saved.get(0))));
 * }</pre>
 *
 * <p>libtorch's own base class for this is a C++ template that Java can not extend. Instead a node
 * of the right number of outputs (that of {@code cat}) is made, its edges are led to the inputs,
 * and two hooks stand in for its body: the one before takes the incoming gradient and gives the
 * node nothing to do, the one after answers with the gradients that the backward computes.
 */
public final class CustomFunction {

  /** The backward: from the gradient of the value and what was saved to those of the inputs. */
  @FunctionalInterface
  public interface Backward {
    /**
     * Runs without gradients, in a scope of its own.
     *
     * @param gradient the gradient of the value, in its shape
     * @param saved what was saved, in order
     * @return one gradient an input, null for one that needs none
     */
    List<@Nullable Tensor> apply(Tensor gradient, List<Tensor> saved);
  }

  /** Computes the value of a function. */
  @FunctionalInterface
  public interface Forward {
    /** Runs without gradients. */
    Tensor apply();
  }

  private CustomFunction() {}

  /**
   * Computes a value and joins it to the graph.
   *
   * @param inputs the tensors that get gradients
   * @param saved what backward needs; freed as soon as it has run. A tensor that is an input's own
   *     storage costs nothing to save, nor does one that is {@link Remade}.
   */
  public static Tensor apply(
      List<Tensor> inputs, List<Tensor> saved, Forward forward, Backward backward) {
    Tensor value;
    try (var _ = new NoGradGuard()) {
      value = Scope.result(forward::apply);
    }
    return join(value, inputs, saved, backward);
  }

  /** Whether a graph is being built through any of these inputs. */
  public static boolean needed(List<Tensor> inputs) {
    return GradMode.is_enabled() && inputs.stream().anyMatch(Tensor::requires_grad);
  }

  /** Joins {@code value}, computed from {@code inputs} without a graph, to their graph. */
  public static Tensor join(
      Tensor value, List<Tensor> inputs, List<Tensor> saved, Backward backward) {
    if (!needed(inputs)) {
      return value;
    }
    Scope graph = Scope.currentGraph();
    if (graph == null) {
      throw new IllegalStateException(
          "a gradient is to be computed outside of a graph scope, so nothing would own what"
              + " backward needs; wrap forward and backward in try (var _ = Scope.graph())");
    }
    var call = new Call(saved, inputs, backward);
    try (var _ = new PointerScope()) {
      Node node = carrier(inputs.size());
      node.set_next_edges(edges(inputs));
      node.clear_input_metadata();
      create_gradient_edge(value, node);
      // Native code holds the hooks weakly: without a strong reference they would be collected.
      call.pre.retainReference();
      call.post.retainReference();
      node.add_pre_hook(call.pre);
      node.add_post_hook(call.post);
    }
    graph.keeps(call.saved);
    graph.onClose(call::close);
    return value;
  }

  private static Node carrier(int inputs) {
    var leaves = new TensorVector();
    for (int i = 0; i < inputs; i++) {
      leaves.push_back(empty(1).set_requires_grad(true));
    }
    return cat(leaves, 0).grad_fn();
  }

  private static EdgeVector edges(List<Tensor> inputs) {
    var edges = new EdgeVector();
    for (Tensor input : inputs) {
      if (!input.requires_grad()) {
        edges.push_back(new Edge());
        continue;
      }
      Tensor source = input;
      Node function = source.grad_fn();
      if (function == null || function.isNull()) {
        source = input.alias(); // a leaf has no node of its own; its alias leads to it
        function = source.grad_fn();
      }
      edges.push_back(new Edge(function, (int) source.output_nr()));
    }
    return edges;
  }

  /** One use of a function between its forward and its backward. */
  private static final class Call {
    /** Whose answer each thread of the backward was handed last. */
    private static final ThreadLocal<Call> LAST = new ThreadLocal<>();

    private final List<Saved> saved = new ArrayList<>();
    private final boolean[] wanted;
    private final Backward backward;
    private final FunctionPreHook pre;
    private final FunctionPostHook post;
    private @Nullable Tensor gradient;
    private @Nullable TensorVector answered;
    private boolean spent;

    Call(List<Tensor> saved, List<Tensor> inputs, Backward backward) {
      for (Tensor tensor : saved) {
        this.saved.add(Saved.of(tensor));
      }
      this.wanted = new boolean[inputs.size()];
      for (int i = 0; i < wanted.length; i++) {
        wanted[i] = inputs.get(i).requires_grad();
      }
      this.backward = backward;
      this.pre =
          new FunctionPreHook() {
            @Override
            public TensorVector apply(TensorVector gradients) {
              return take(gradients);
            }
          };
      this.post =
          new FunctionPostHook() {
            @Override
            public TensorVector apply(TensorVector outputs, TensorVector inputs) {
              return answer();
            }
          };
    }

    private TensorVector take(TensorVector gradients) {
      try (var _ = new PointerScope()) {
        gradient = Scope.own(new Tensor(gradients.get(0)));
        TensorVector nothing = new TensorVector().retainReference();
        nothing.push_back(new Tensor());
        return handOver(nothing);
      }
    }

    private TensorVector answer() {
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        Tensor incoming = gradient;
        if (incoming == null || spent) {
          throw new IllegalStateException("a backward was asked for twice; run forward again");
        }
        spent = true;
        List<@Nullable Tensor> result =
            backward.apply(incoming, saved.stream().map(Saved::get).toList());
        TensorVector vector = new TensorVector().retainReference();
        for (int i = 0; i < wanted.length; i++) {
          Tensor tensor = wanted[i] ? result.get(i) : null;
          vector.push_back(tensor == null ? new Tensor() : tensor);
        }
        // Only now: an answer may be a saved tensor itself, changed in place.
        incoming.close();
        gradient = null;
        free();
        return handOver(vector);
      }
    }

    /**
     * Native code copies what a hook returns before it calls the next one, so each answer is held
     * until then. Holding them to the end would keep the gradient of every activation.
     */
    private TensorVector handOver(TensorVector vector) {
      Call last = LAST.get();
      if (last != null) {
        last.dropAnswer();
      }
      LAST.set(this);
      answered = vector;
      return vector;
    }

    private void dropAnswer() {
      if (answered != null) {
        answered.close();
        answered = null;
      }
    }

    private void free() {
      for (Iterator<Saved> i = saved.iterator(); i.hasNext(); ) {
        i.next().free();
        i.remove();
      }
    }

    void close() {
      free();
      if (gradient != null) {
        gradient.close();
        gradient = null;
      }
      dropAnswer();
      pre.close();
      post.close();
    }
  }
}
