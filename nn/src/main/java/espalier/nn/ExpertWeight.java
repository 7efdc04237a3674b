package espalier.nn;

import static org.bytedeco.pytorch.global.torch.linear;

import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * One stacked parameter of a mixture of experts, W [experts, out, in], or a plain one [out, in].
 * Its path is the parameter's own name: it holds one parameter whose name is empty. A parameter in
 * float8 is widened as it is used, of a single expert no more than that expert's part.
 */
public final class ExpertWeight extends Adaptable {

  private Tensor weight;
  private final boolean transposed;

  /**
   * A stacked parameter.
   *
   * @param weight [experts, out, in], [experts, in, out] where transposed, or without experts
   * @param transposed whether the last two dimensions are stored as [in, out]
   */
  public ExpertWeight(Tensor weight, boolean transposed) {
    if (weight.dim() != 2 && weight.dim() != 3) {
      throw new IllegalArgumentException(
          "an expert parameter has 2 or 3 dimensions but this one has " + weight.dim());
    }
    this.weight = parameter("", weight);
    this.transposed = transposed;
  }

  @Override
  public String typeName() {
    return "Parameter";
  }

  /** Number of experts; 1 for a plain parameter. */
  public long experts() {
    return weight.dim() == 3 ? weight.size(0) : 1;
  }

  /** Input features of one expert. */
  public long in() {
    return weight.size(transposed ? -2 : -1);
  }

  /** Output features of one expert. */
  public long out() {
    return weight.size(transposed ? -1 : -2);
  }

  /** Whether the last two dimensions are stored as [in, out]. */
  public boolean transposed() {
    return transposed;
  }

  /** The parameter as it is stored: [experts, out, in] or, where transposed, [experts, in, out]. */
  @Override
  public Tensor weight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return null;
  }

  /** One expert's weight as [out, in]: a view. */
  public Tensor weight(long expert) {
    return one(weight, expert);
  }

  /** One expert's weight as it was before anything was merged, as [out, in]: a view. */
  public Tensor originalWeight(long expert) {
    return one(originalWeight(), expert);
  }

  /**
   * One expert's part, as [out, in], of a tensor that stands as the parameter is stored: a view.
   */
  public Tensor one(Tensor all, long expert) {
    Tensor one = all.dim() == 3 ? all.select(0, expert) : all;
    return transposed ? one.t() : one;
  }

  /** All experts at once: x [experts, tokens, in] to [experts, tokens, out]. */
  @Override
  public Tensor base(Tensor x) {
    return base(x, weight, null);
  }

  @Override
  public Tensor base(Tensor x, Tensor w, @Nullable Tensor none) {
    Tensor wide = widened(w, x);
    if (w.dim() == 2) {
      return linear(x, transposed ? wide.t() : wide);
    }
    return x.matmul(transposed ? wide : wide.transpose(1, 2));
  }

  private static Tensor widened(Tensor w, Tensor x) {
    return Float8Weight.holds(w) ? w.to(x.scalar_type().intern()) : w;
  }

  /** One expert with the adapters in force: x [tokens, in] to [tokens, out]. */
  public Tensor forward(Tensor x, long expert) {
    Tensor y = linear(x, widened(weight(expert), x));
    for (Adapter adapter : adapters().inForce()) {
      adapter.requireReady(x);
      if (!(adapter instanceof ExpertAdapter branch)) {
        throw new IllegalStateException(
            adapter.typeName() + " was attached to a parameter but can not adapt single experts");
      }
      y = branch.forward(x, y, expert);
    }
    return y;
  }

  /** An adapter that can run one expert alone, so that only the routed experts are computed. */
  public interface ExpertAdapter {
    /** Adds the contribution of one expert: x [tokens, in], y [tokens, out]. */
    Tensor forward(Tensor x, Tensor y, long expert);
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter("", w);
  }

  @Override
  void replaceBias(Tensor b) {
    throw new IllegalStateException("a stacked parameter has no bias");
  }
}
