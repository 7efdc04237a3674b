package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** What a custom function has of one tensor between forward and backward. */
sealed interface Saved {

  /** Keeps a tensor, or the way to it. */
  static Saved of(Tensor tensor) {
    Remade remade = Remade.of(tensor);
    if (remade != null) {
      return new Again(remade, tensor.shape());
    }
    try (var _ = new PointerScope()) {
      Tensor kept = Scope.own(tensor.detach());
      return new Kept(kept, kept._version());
    }
  }

  /** The tensor, without a graph; not to be used after {@link #free}. */
  Tensor get();

  void free();

  /**
   * The tensor itself.
   *
   * @param version how often it had been written to when it was kept
   */
  record Kept(Tensor tensor, long version) implements Saved {
    @Override
    public Tensor get() {
      if (tensor._version() != version) {
        throw new IllegalStateException(
            "a tensor that backward needs was written to after forward kept it; write to a copy");
      }
      return tensor;
    }

    @Override
    public void free() {
      tensor.close();
    }
  }

  /** A value that is computed again, in the shape that its reader had it in. */
  final class Again implements Saved {
    private final Remade remade;
    private final long[] shape;

    private Again(Remade remade, long[] shape) {
      this.remade = remade;
      this.shape = shape;
    }

    @Override
    public Tensor get() {
      return remade.value().view(shape);
    }

    @Override
    public void free() {
      remade.release();
    }
  }
}
