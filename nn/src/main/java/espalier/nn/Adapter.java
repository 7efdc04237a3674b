package espalier.nn;

import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * What one method adds to one layer. A subclass gives {@link #forward} and {@link #deltaWeight};
 * activation, merging, mixed batches, saving and counting are written once, outside.
 *
 * <p>Parameters are named as in the adapter's file, without the adapter's name: {@code
 * lora_A.weight}, {@code hira_B}. Those registered with {@link #parameter} train; those registered
 * with {@link #frozen} or {@link #constant} are saved beside them and never train.
 */
public abstract class Adapter extends Layer {

  private final Map<String, Tensor> constants = new LinkedHashMap<>();
  private final Set<String> frozen = new LinkedHashSet<>();
  private @Nullable Tensor residual;
  private boolean trainable;
  private boolean referenceRefusals;
  private final Unfilled unfilled = new Unfilled();
  private double scale = 1;

  /**
   * Adds this adapter's contribution to the output of the layer so far.
   *
   * @param x the layer's input, [..., in]; token ids for an embedding
   * @param y the output so far, [..., out], in the dtype of the base or in float32; an adapter may
   *     write into it only where it made it itself
   * @return [..., out] in the dtype of {@code y}
   */
  public abstract Tensor forward(Tensor x, Tensor y);

  /**
   * The output of the base layer and of this adapter together, where this is the only adapter in
   * force. A method overrides it where one product or one autograd node can serve both.
   *
   * @param x the layer's input, [..., in]
   * @return [..., out] in the dtype of the base
   */
  public Tensor first(Tensor x) {
    return forward(x, layer().base(x));
  }

  /** The layer that this adapter is made for. */
  public abstract Adaptable layer();

  /**
   * What merging adds to the layer's weight, in the shape of {@link Adaptable#weight()}, float32
   * unless the adapter is wider. Always relative to the layer's {@linkplain
   * Adaptable#originalWeight() original weight}.
   */
  public abstract Tensor deltaWeight();

  /**
   * The entries of the weight that this adapter changes, if they are few: then merging writes them
   * in place, and unmerging writes back what stood there. Null if it may change all of them.
   */
  public @Nullable Entries entries() {
    return null;
  }

  /** What merging adds to the layer's bias [out], or null for nothing. */
  public @Nullable Tensor deltaBias() {
    return null;
  }

  /**
   * The weight after this adapter is merged into it. Computed in float32 and rounded once; where
   * several are merged, the weight so far is handed from one to the next in float32.
   *
   * @param weight the weight so far, in the shape of {@link Adaptable#weight()}; not written to
   */
  public Tensor mergedInto(Tensor weight) {
    return wide(weight).add(deltaWeight()).to(weight.scalar_type().intern());
  }

  /** Whether {@link #mergedInto(QuantisedWeight)} gives a weight without decoding these codes. */
  public boolean mergesInto(QuantisedWeight codes) {
    return false;
  }

  /**
   * A quantised weight after this adapter is merged into it without rounding. Only asked for where
   * {@link #mergesInto} says so; elsewhere the weight is decoded, added to and quantised again.
   *
   * @param codes the weight so far; not written to
   */
  public QuantisedWeight mergedInto(QuantisedWeight codes) {
    throw new IllegalStateException(
        "%s can not be merged into %s as it is".formatted(typeName(), codes.format()));
  }

  /**
   * The bias after this adapter is merged into it, or null if there is none to merge into and
   * nothing to merge.
   *
   * @param bias the bias so far [out], or null; not written to
   */
  public @Nullable Tensor mergedIntoBias(@Nullable Tensor bias) {
    Tensor delta = deltaBias();
    if (delta == null || bias == null) {
      return delta == null ? bias : delta;
    }
    return wide(bias).add(delta).to(bias.scalar_type().intern());
  }

  /**
   * What this adapter leaves of the layer's weight, for a start that takes something out of the
   * base: whoever attaches the adapter makes it the layer's weight. Null for a start that leaves
   * the base alone, and after {@link #dropResidual}.
   *
   * @return in the shape and dtype of {@link Adaptable#weight()}
   */
  public final @Nullable Tensor residual() {
    return residual;
  }

  /** Says what attaching this adapter leaves of the layer's weight. */
  protected final void leaves(Tensor weight) {
    dropResidual();
    residual = Scope.own(weight);
  }

  /** Frees the residual once the layer has it. */
  public final void dropResidual() {
    if (residual != null) {
      residual.close();
      residual = null;
    }
  }

  /**
   * First values of what the start took out of the base, by the names of {@link #state()}: with
   * them the base can be given back, and the adapter be made one for the untouched base. Empty for
   * a start that leaves the base alone, or changes it in another way.
   */
  public Map<String, Tensor> initial() {
    return Map.of();
  }

  /**
   * What the start took out of the layer's weight, in its logical shape, float32; null where {@link
   * #initial} is empty.
   */
  public @Nullable Tensor takenOut() {
    return null;
  }

  /**
   * The tokens that this adapter waits for: it acts from their last occurrence in a row on, as
   * {@link TokenIds} says. Null for one that acts on all positions.
   */
  public @Nullable List<Integer> invocation() {
    return null;
  }

  /**
   * What merging now would multiply each entry of the original weight by, for a method whose update
   * is W ⊙ M; null for all others. It is the caller's to close, and stays as it is when the adapter
   * changes.
   */
  public @Nullable WeightMultiplier multiplier() {
    return null;
  }

  /** Why this adapter can not be merged, as a sentence that names the rule, or null if it can. */
  public @Nullable String mergeRefusal() {
    return null;
  }

  /**
   * Lets this adapter keep what it computes from the layer's weight between calls that need no
   * gradient and are not in training, or drops it and keeps nothing any longer. A method without
   * anything of the kind does nothing.
   *
   * @param on whether to keep; it may cost as much memory as the layer's weight
   */
  public void keepWhenServing(boolean on) {}

  /** Why rows of one batch can not have this adapter, as a sentence, or null if they can. */
  public @Nullable String rowsRefusal() {
    return null;
  }

  /** Why this adapter can not be converted to plain LoRA, as a sentence, or null if it can. */
  public @Nullable String conversionRefusal() {
    return mergeRefusal();
  }

  /** Whether this adapter also refuses what it could do but the reference library does not. */
  public final boolean referenceRefusals() {
    return referenceRefusals;
  }

  /** Has this adapter refuse what it could do but the reference library does not, or no longer. */
  public void referenceRefusals(boolean on) {
    referenceRefusals = on;
  }

  /**
   * Adds to each row of a batch the contribution of its own adapter, all of them of this class and
   * on this layer. The default gathers the rows of each adapter, runs them, and puts them back.
   *
   * @param x [batch, ..., in]
   * @param y [batch, ..., out], the base layer's output; may be written to
   * @param adapters the distinct adapters of the rows
   * @param choice for each row the index into {@code adapters}, or -1 for none
   * @return [batch, ..., out] in the dtype of {@code y}
   */
  public Tensor forwardRows(Tensor x, Tensor y, List<Adapter> adapters, int[] choice) {
    return Rows.gathered(x, y, adapters, choice);
  }

  /** All that belongs in the adapter's file: trained parameters and constants, by name. */
  public final Map<String, Tensor> state() {
    var all = new LinkedHashMap<>(parameters());
    all.putAll(constants);
    return Collections.unmodifiableMap(all);
  }

  /**
   * How a tensor of {@link #state()} is split over the ranks that compute the model, or null where
   * each rank has all of it. A file always holds the whole.
   */
  public @Nullable Shard shard(String name) {
    return null;
  }

  /** Tensors that are saved with the adapter but never trained. */
  public final Map<String, Tensor> constants() {
    return Collections.unmodifiableMap(constants);
  }

  /** Registers, or replaces, a tensor that is saved and never trained. */
  protected final Tensor constant(String name, Tensor value) {
    Tensor owned = Scope.own(value);
    Tensor old = constants.put(name, owned);
    if (old != null) {
      old.close();
    }
    return owned;
  }

  /** Registers a factor that keeps its values: a constant that counts as a parameter. */
  protected final Tensor frozen(String name, Tensor value) {
    frozen.add(name);
    return constant(name, value);
  }

  /** What counts as this adapter's parameters: those that train and those that are frozen. */
  public final Map<String, Tensor> counted() {
    var all = new LinkedHashMap<>(parameters());
    frozen.forEach(name -> all.put(name, Objects.requireNonNull(constants.get(name))));
    return Collections.unmodifiableMap(all);
  }

  /**
   * {@inheritDoc}
   *
   * <p>It becomes contiguous, as what a file holds is: libtorch sums strided tensors in another
   * order, and a run that is resumed has to end with the same bits.
   */
  @Override
  protected final Tensor parameter(String name, Tensor value) {
    return super.parameter(name, value.contiguous());
  }

  /**
   * Takes over saved tensors in the place of the present ones, which keep their identity, dtype and
   * need of gradients. The shapes must be those that {@link #state()} has, or those that the method
   * allows instead.
   *
   * @param saved by the names of {@link #state()}; names that are absent stay as they are
   */
  public final void load(Map<String, Tensor> saved) {
    try (var _ = new PointerScope()) {
      loading(saved).run();
    }
  }

  /**
   * The same in two steps, for whoever fills several adapters or none of them: this call checks and
   * works out what it can, and what it returns takes the tensors over, in the scope around both.
   *
   * @param saved as for {@link #load}
   * @throws IllegalArgumentException if the tensors do not go together; nothing is changed
   */
  public Runnable loading(Map<String, Tensor> saved) {
    requireLoadable(saved);
    return () -> exchange(saved);
  }

  /**
   * Checks, before {@link #load} changes anything, what the shapes by themselves do not tell.
   *
   * @param saved as for {@link #load}
   * @throws IllegalArgumentException if the tensors do not go together
   */
  public void requireLoadable(Map<String, Tensor> saved) {}

  /** Takes over tensors as {@link #load} does, of shapes and contents that the caller knows. */
  public final void exchange(Map<String, Tensor> tensors) {
    var state = state();
    tensors.forEach(
        (name, value) -> {
          Tensor own = Objects.requireNonNull(state.get(name), name);
          try (var _ = new PointerScope()) {
            own.set_data(own.new_empty(value.sizes()).copy_(value)); // the file may be mapped
          }
          TensorStamp.renew(own);
        });
    replaced();
    filled(tensors.keySet());
  }

  /**
   * Gives up the storage of tensors until they are filled: they keep their shape and dtype over a
   * single number. Whoever computes with this adapter before gets an exception.
   *
   * @param names names of {@link #state()}
   * @param whenUsed makes the exception, given the name of a tensor
   */
  public final void empty(Collection<String> names, Function<String, RuntimeException> whenUsed) {
    unfilled.empty(state(), names, whenUsed);
  }

  /** Says that these tensors have values now. */
  public final void filled(Collection<String> names) {
    unfilled.filled(names);
  }

  /** Names of tensors that have no values yet. */
  public final Set<String> unfilled() {
    return unfilled.names();
  }

  /** Throws what {@link #empty} was given if some tensor has no values yet. */
  public final void requireFilled() {
    unfilled.requireNone();
  }

  /**
   * Checks that this adapter can compute with an input: that it has all its values, and where
   * {@linkplain AdapterStack#castInputs nothing is cast}, that both are of one dtype.
   *
   * @param x the layer's input
   */
  public void requireReady(Tensor x) {
    requireFilled();
    if (!layer().adapters().castsInputs() && x.is_floating_point()) {
      ScalarType given = x.scalar_type().intern();
      if (given != dtype()) {
        throw new IllegalStateException(
            "the input of a %s is %s but its adapter is %s, and nothing is cast between them at present; cast the input, cast the adapter, or allow casting again"
                .formatted(layer().typeName(), given, dtype()));
      }
    }
  }

  /**
   * Told after this adapter's tensors, or the layer's own weight, were put in the place of others,
   * so that what was computed from them ahead can be dropped.
   */
  protected void replaced() {}

  /**
   * Whether a saved tensor of this shape may take the place of the present one. A method says yes
   * to another shape where the file may decide, such as on the rank.
   */
  public boolean accepts(String name, long[] shape) {
    Tensor own = Objects.requireNonNull(state().get(name), name);
    boolean same = own.dim() == shape.length;
    for (int i = 0; same && i < shape.length; i++) {
      same = own.size(i) == shape[i];
    }
    return same;
  }

  /** Casts the floating-point tensors, which keep their identity. */
  public void to(ScalarType dtype) {
    boolean cast = false;
    for (Tensor own : state().values()) {
      if (own.is_floating_point() && own.scalar_type().intern() != dtype) {
        try (var _ = new PointerScope()) {
          own.set_data(own.to(dtype));
        }
        TensorStamp.renew(own);
        cast = true;
      }
    }
    if (cast) {
      replaced();
    }
  }

  /** Whether the parameters collect gradients. */
  public final boolean trainable() {
    return trainable;
  }

  /** Switches gradients of the parameters on or off; constants never have any. */
  public void trainable(boolean on) {
    trainable = on;
    for (Tensor p : parameters().values()) {
      p.set_requires_grad(on && p.is_floating_point());
      if (!on) {
        p.mutable_grad().reset();
      }
    }
  }

  /** The factor on what this adapter adds: 1 unless a caller changes it. It is never saved. */
  public final double scale() {
    return scale;
  }

  /** Changes the factor on what this adapter adds; 0 to 1 goes from the base to the adapter. */
  public final void scale(double factor) {
    if (!Double.isFinite(factor)) {
      throw new IllegalArgumentException(
          "the scale is %s but a finite number is needed; 1 is the adapter as trained"
              .formatted(factor));
    }
    scale = factor;
    layer().adapters().changed(this);
  }

  /** The dtype of the parameters: float32, also beside a bfloat16 base, unless asked otherwise. */
  public final ScalarType dtype() {
    for (Tensor p : state().values()) {
      if (p.is_floating_point()) {
        return p.scalar_type().intern();
      }
    }
    return ScalarType.Float;
  }

  /** The same numbers in a dtype fit to compute a merge in: half precision becomes float32. */
  protected static Tensor wide(Tensor tensor) {
    return HalfPrecision.widened(tensor);
  }

  /** Multiplies by a number without leaving a handle behind. */
  protected static Tensor times(Tensor tensor, double factor) {
    return factor == 1 ? tensor : tensor.mul(new Scalar(factor));
  }

  @Override
  public void close() {
    super.close();
    dropResidual();
    constants.values().forEach(Tensor::close);
    constants.clear();
  }
}
