package espalier.nn;

import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A layer with a frozen weight and a slot for adapters. Adapters come and go without the layer
 * being replaced or wrapped, so paths and checkpoint keys never change.
 *
 * <p>A subclass says what the base computes; the {@link AdapterStack} adds what is in force.
 */
@SuppressWarnings("this-escape") // the stack only keeps the reference
public abstract class Adaptable extends Layer {

  private final AdapterStack adapters = new AdapterStack(this);
  private @Nullable LayerObserver observer;
  private @Nullable Partition partition;

  /**
   * The layer's weight in its logical shape; after merging, the merged weight. Not to be written,
   * and not to be kept while adapters are merged or switched, which may write into it.
   */
  public abstract Tensor weight();

  /** The layer's bias [out], or null. */
  public abstract @Nullable Tensor bias();

  /** The layer's output without adapters. */
  public abstract Tensor base(Tensor x);

  /**
   * The layer's output with another weight and bias in the place of its own, as autograd sees it.
   *
   * @param weight in the shape of {@link #weight()}
   * @param bias [out], or null
   */
  public abstract Tensor base(Tensor x, Tensor weight, @Nullable Tensor bias);

  /** The layer's weight as it stands in memory, with entries that training has written into it. */
  Tensor presentWeight() {
    return weight();
  }

  /** The codes that stand for the weight, or null if it is a plain tensor. */
  @Nullable QuantisedWeight codes() {
    return null;
  }

  /** Takes codes over in the place of the present ones. */
  void putCodes(QuantisedWeight codes) {
    throw new IllegalStateException("a %s has no quantised weight".formatted(typeName()));
  }

  /** Why an adapter can not be merged into this layer, as a sentence, or null if it can. */
  public @Nullable String mergeRefusal(Adapter adapter) {
    return null;
  }

  /** Whether the weight may be written to in place: nobody but this layer holds it. */
  boolean ownsWeight() {
    return false;
  }

  /** Puts another weight of the same logical shape in the place of the present one. */
  abstract void replaceWeight(Tensor weight);

  /** Puts another bias in the place of the present one; only where there is one. */
  abstract void replaceBias(Tensor bias);

  /** The adapters of this layer. */
  public final AdapterStack adapters() {
    return adapters;
  }

  /**
   * The weight as it was before anything was merged, in its logical shape. Not to be written, and
   * where adapters of a few entries are merged, a copy in the caller's scope.
   */
  public final Tensor originalWeight() {
    adapters.vacate();
    return adapters.weights().original();
  }

  /**
   * Makes another weight the layer's own for good, as an adapter does that leaves a residual in the
   * base. Nothing may be merged.
   *
   * @param weight in the shape of {@link #weight()}; the layer takes a handle of its own
   */
  public final void rebase(Tensor weight) {
    adapters.requireUnmerged();
    replaceWeight(weight);
    adapters.weightReplaced();
  }

  /** Makes another bias [out] the layer's own for good. Nothing may be merged. */
  public final void rebaseBias(Tensor bias) {
    adapters.requireUnmerged();
    replaceBias(bias);
  }

  /** Layers below this one that get an adapter whenever it does, by their path from here. */
  public List<String> partners() {
    return List.of();
  }

  /** This layer's place in a model that several ranks compute together; null where one does. */
  public final @Nullable Partition partition() {
    return partition;
  }

  /**
   * Keeps of the weight and the bias what belongs to this rank, or changes nothing if it fails. No
   * adapter may be there yet.
   *
   * @param twin a layer that shares this one's weight and was split alike before, so that they
   *     share the part too; or null
   * @return makes the layer whole again, with the same bits, while the scope around is open, which
   *     keeps the whole weight until it closes
   * @throws IllegalStateException if the layer is split already or has adapters
   */
  public final Runnable split(Partition by, @Nullable Adaptable twin) {
    if (partition != null || !adapters.all().isEmpty()) {
      throw new IllegalStateException(
          "this %s %s; split a model once, before adapters come"
              .formatted(typeName(), partition != null ? "is split already" : "has adapters"));
    }
    Tensor whole = new Tensor(weight());
    Tensor bias = bias();
    Tensor wholeBias = bias == null ? null : new Tensor(bias);
    Shard ofBias = by.bias();
    partition = by; // before the weight is replaced, which a part of a table is told by
    Shard ofWeight = by.weight();
    if (ofWeight != null) {
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        Tensor partOfWeight = twin == null ? laidOut(ofWeight.of(weight())) : twin.weight();
        Tensor partOfBias = bias == null || ofBias == null ? null : ofBias.of(bias);
        replaceWeight(partOfWeight); // refuses before it changes anything, and the bias never does
        if (partOfBias != null) {
          replaceBias(partOfBias);
        }
      } catch (RuntimeException | Error e) {
        partition = null;
        throw e;
      }
    }
    return () -> {
      partition = null;
      if (ofWeight != null) {
        replaceWeight(whole);
        if (wholeBias != null && ofBias != null) {
          replaceBias(wholeBias);
        }
      }
    };
  }

  /** A part of the weight in its logical shape, with the layout that the layer keeps it in. */
  Tensor laidOut(Tensor slice) {
    return slice;
  }

  /** The dtype of the weight, in which the layer computes. */
  public ScalarType dtype() {
    return weight().scalar_type().intern();
  }

  /** The layer's output with the adapters that are in force. */
  public final Tensor forward(Tensor x) {
    Tensor y = adapters.idle() ? base(x) : adapters.forward(x);
    // What comes after may write to its input, and the observer may have kept that.
    return observer == null ? y : observer.seen(x, y).clone();
  }

  /**
   * Shows each call of this layer to an observer, until {@link #unobserve}.
   *
   * @throws IllegalStateException if another one observes it already
   */
  public final void observe(LayerObserver by) {
    if (observer != null) {
      throw new IllegalStateException(
          "this %s is observed already; one preparation runs at a time".formatted(typeName()));
    }
    observer = by;
  }

  /** Ends the observation, if there is one. */
  public final void unobserve() {
    observer = null;
  }

  /** Whether a call is the base alone and nobody looks on, so that it may be done once more. */
  public final boolean repeatable() {
    return observer == null && adapters.idle();
  }

  /** Whether calls are shown to an observer, so that no caller may compute past the layer. */
  public final boolean observed() {
    return observer != null;
  }

  /**
   * Adapts the raw contribution of a branch to what the layer does with its own product; an
   * embedding that scales its output scales the branch too.
   */
  public double outputScale() {
    return 1;
  }

  @Override
  public void train(boolean on) {
    super.train(on);
    adapters.train(on);
  }

  @Override
  final void beforeReading() {
    adapters.vacate();
  }

  @Override
  public void close() {
    adapters.close();
    super.close();
  }
}
