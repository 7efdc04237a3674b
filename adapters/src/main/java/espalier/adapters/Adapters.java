package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Collective;
import espalier.nn.Layer;
import espalier.nn.Shard;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The adapters of one model: attaching, activating, merging, saving and loading, written once for
 * all methods. What changes the model changes it wholly or, if it fails, not at all.
 *
 * <pre>{@code
 * var adapters = Adapters.of(model, ModelFacts.of("llama"));
 * adapters.attach("default", LoraConfig.defaults(), AttachOptions.seeded(42));
 * ... train adapters.parameters() ...
 * Map<String, Tensor> file = adapters.state("default");
 * }</pre>
 *
 * <p>Warnings go to the logger {@code espalier.adapters} and into the results. Not thread-safe
 * while it changes the model; forward passes may run side by side.
 */
public final class Adapters {

  private final AdapterSet set;
  private final Activation activation;
  private final Arrivals arrivals;
  private final Merging merging;
  private final Scaling scaling;

  private Adapters(AdapterSet set) {
    this.set = set;
    activation = new Activation(set);
    arrivals = new Arrivals(set, activation);
    merging = new Merging(set, activation);
    scaling = new Scaling(set);
  }

  /** The adapters of a model that has none yet. The model stays the caller's to close. */
  public static Adapters of(Layer model, ModelFacts facts) {
    return new Adapters(new AdapterSet(model, facts));
  }

  /** Allows adapters of different methods on this model. */
  public Adapters allowMixedMethods() {
    arrivals.allowMixedMethods();
    return this;
  }

  /**
   * Refuses, with an {@link UnsupportedAdapterException}, what the reference library refuses and
   * this one offers, for whoever compares the two: merging QALoRA, rows of a batch with DoRA, beam
   * search and several checkpointed forwards before a backward with aLoRA, converting HiRA and
   * SHiRA to LoRA, and saving adapters of a model that has several methods. Off at first.
   */
  public Adapters referenceRefusals(boolean on) {
    set.referenceRefusals(on);
    return this;
  }

  /** Makes adapters for a kind of layer by a factory of the caller's. */
  public Adapters register(Class<? extends Adaptable> type, AdapterFactory factory) {
    arrivals.register(type, factory);
    return this;
  }

  /** The model. */
  public Layer model() {
    return set.model();
  }

  /** What is known of the model. */
  public ModelFacts facts() {
    return set.facts();
  }

  /** Those who compute the model together, or null if this process does it alone. */
  public @Nullable Collective ranks() {
    return set.ranks();
  }

  // ---- attaching

  /** Attaches an adapter with a stream of first values for each layer from a seed. */
  public Attached attach(String name, AdapterConfig config, long seed) {
    return attach(name, config, AttachOptions.seeded(seed));
  }

  /**
   * Attaches an adapter and makes it the active one, trainable unless its config is for use only.
   *
   * @param name its name, without a dot
   * @throws ConfigException if the settings do not fit the model
   * @throws TargetException if no layer is meant
   * @throws AdapterException if the name is taken, or the adapter does not go with those present
   * @throws UnsupportedAdapterException if a layer or a setting can not be had
   */
  public Attached attach(String name, AdapterConfig config, AttachOptions options) {
    return arrivals.attach(name, config, options);
  }

  /** Attaches an adapter that is neither active nor trainable yet. */
  public Attached add(String name, AdapterConfig config, AttachOptions options) {
    return arrivals.add(name, config, options);
  }

  /**
   * Attaches an adapter with tensors from a file. It becomes active if it is the model's first.
   * Unless it is to be trained, the model is in evaluation mode from then on.
   *
   * @param saved tensors by their key, with or without {@code base_model.model.}; the map and the
   *     tensors are left as they are
   * @throws StateMismatchException naming layers whose tensors do not fit; nothing is changed
   */
  public LoadResult load(
      String name, AdapterConfig config, Map<String, Tensor> saved, LoadOptions options) {
    return load(name, config, saved, Map.of(), options);
  }

  /**
   * Attaches an adapter with tensors from a file whose start can not be repeated without its first
   * values.
   *
   * @param initial first values of what the start took out of the base, by the keys of {@code
   *     saved}; empty if there are none
   * @throws StateMismatchException naming layers whose tensors do not fit; nothing is changed
   */
  public LoadResult load(
      String name,
      AdapterConfig config,
      Map<String, Tensor> saved,
      Map<String, Tensor> initial,
      LoadOptions options) {
    return arrivals.load(name, config, saved, initial, options);
  }

  // ---- what is there

  /** Names of all adapters, in the order they came. */
  public List<String> names() {
    return set.names();
  }

  /**
   * Checks that all of these are names of adapters.
   *
   * @throws AdapterException naming, sorted, those that are not
   */
  public void requireAll(Collection<String> names) {
    set.requireAll(names);
  }

  /** The config of an adapter, with what attaching found out. */
  public AdapterConfig config(String name) {
    return set.entry(name).config();
  }

  /** What an adapter is on. */
  public Attached attached(String name) {
    return set.entry(name).attached(List.of());
  }

  /** What an adapter put on each layer, by path. */
  public Map<String, Adapter> on(String name) {
    return set.on(name);
  }

  /** Names of the active adapters, in order. */
  public List<String> active() {
    return set.active();
  }

  /** Names of the merged adapters, in merge order. */
  public List<String> merged() {
    return set.merged();
  }

  // ---- activating

  /**
   * Makes these adapters the active ones, in this order, trainable unless all their configs are for
   * use only; all others are frozen.
   *
   * @return warnings
   */
  public List<String> setActive(List<String> names) {
    return setActive(names, activation.inferenceMode(names));
  }

  /**
   * Makes these adapters the active ones, in this order. What is merged is unmerged first.
   *
   * @param inferenceMode whether none of them is to be trained
   * @return warnings
   * @throws AdapterException if two of them have a copy of the same layer
   */
  public List<String> setActive(List<String> names, boolean inferenceMode) {
    return set.changed(() -> AdapterSet.told(activation.activate(names, inferenceMode)));
  }

  /** Switches the gradients of adapters on or off without activating them. */
  public void setRequiresGrad(Collection<String> names, boolean on) {
    activation.requiresGrad(names, on);
  }

  /**
   * Gives the tensors of an adapter another dtype, in place: float32, in which adapters train, or
   * the base's, which takes less memory. Training takes an optimizer of its own from there on.
   */
  public void cast(String name, ScalarType dtype) {
    new AdapterDtypes(set).cast(name, dtype);
  }

  /**
   * Turns all adapters off until the result is closed; nests. What is merged is unmerged first and
   * stays so.
   */
  public Restorable disable() {
    return set.changed(activation::disable);
  }

  /**
   * Deletes an adapter. If it was the only active one, the alphabetically first of the others
   * becomes active; if none is left, the model computes as its base.
   *
   * @return warnings
   * @throws IllegalStateException if it is merged
   */
  public List<String> delete(String name) {
    return set.changed(() -> AdapterSet.told(activation.delete(name)));
  }

  // ---- merging

  /** Merges the active adapters into the weights. */
  public MergeResult merge(boolean safe) {
    return merge(active(), safe);
  }

  /**
   * Merges adapters into the weights of all their layers, or of none if it fails. Those that are
   * merged already are passed over.
   *
   * @param safe whether every entry of the merged weights must be finite
   * @throws NotFiniteException if one is not; nothing is changed
   * @throws UnsupportedAdapterException if one of them can not be merged
   */
  public MergeResult merge(List<String> names, boolean safe) {
    return merge(names, MergeOptions.defaults().withSafe(safe));
  }

  /**
   * Merges adapters into the weights of all their layers, or of none if it fails. Those that are
   * merged already are passed over. Layers that share a weight and what is trained on it share the
   * merged weight too.
   *
   * @throws NotFiniteException if an entry is not finite and that was asked for; nothing is changed
   * @throws UnsupportedAdapterException if one of them can not be merged, or if it is on blocks
   *     that share their weights and these are not to be taken apart
   */
  public MergeResult merge(List<String> names, MergeOptions options) {
    return merging.merge(names, options);
  }

  /**
   * Puts the weights of the base back, bit for bit.
   *
   * @return warnings
   */
  public List<String> unmerge() {
    return merging.unmerge();
  }

  /**
   * Has exactly these adapters merged and active, for use only, whatever was merged before: on all
   * of their layers, or nothing changes if it fails. Adapters of a few entries, such as SHiRA's,
   * are exchanged by writing those entries, without a product and without a copy of a weight.
   *
   * @param names names of adapters; none for the base
   * @param safe whether every entry that changes must be finite
   * @throws NotFiniteException if one is not; nothing is changed
   * @throws UnsupportedAdapterException if one of them can not be merged
   */
  public MergeResult switchTo(List<String> names, boolean safe) {
    return merging.switchTo(names, safe);
  }

  /** Merges the active adapters, makes the result the model's own, and drops all adapters. */
  public MergeResult mergeAndUnload(boolean safe) {
    return mergeAndUnload(active(), safe);
  }

  /** Merges adapters, makes the result the model's own, and drops all adapters. */
  public MergeResult mergeAndUnload(List<String> names, boolean safe) {
    return mergeAndUnload(names, MergeOptions.defaults().withSafe(safe));
  }

  /** Merges adapters, makes the result the model's own, and drops all adapters. */
  public MergeResult mergeAndUnload(List<String> names, MergeOptions options) {
    return merging.settle(names, options);
  }

  /**
   * Drops all adapters; the weights are what they were before, but for trained biases.
   *
   * @return warnings
   */
  public List<String> unload() {
    return merging.unload();
  }

  // ---- swapping in place

  /**
   * Puts the tensors of another adapter in the place of those of one that is there, which keeps its
   * name, its layers and the identity of its tensors. Forward passes under way end with the old
   * ones; see {@link #steady}.
   *
   * @param next the config that the other adapter was trained with
   * @param saved its tensors by their key, with or without {@code base_model.model.}; factors that
   *     are missing become zero
   * @throws ConfigException naming the field in which the two configs must agree and do not
   * @throws StateMismatchException if the file has tensors of layers that the adapter is not on, or
   *     misses what can not be zero; nothing is changed
   * @throws IllegalStateException if the adapter is merged
   */
  public LoadResult swap(String name, AdapterConfig next, Map<String, Tensor> saved) {
    return new HotSwap(set).swap(name, next, saved);
  }

  /**
   * Widens the factors of all adapters with zeros, which changes no output, so that adapters up to
   * this rank can be swapped in without a tensor of another shape.
   *
   * @throws ConfigException if an adapter has a higher rank already, or a layer can not have this
   *     one
   * @throws TargetException if the model has no adapter
   */
  public void prepareSwap(int rank) {
    new HotSwap(set).widen(rank);
  }

  /**
   * Runs a forward pass, or several that belong together, between which nothing is swapped. A model
   * that is {@link espalier.nn.Steady} does so by itself for each pass.
   */
  public <T> T steady(Supplier<T> passes) {
    return set.lock().forward(passes);
  }

  // ---- scaling

  /**
   * Sets the factor on what an adapter adds; 1 is as trained. It is never saved. What is merged
   * stays as it was merged, of which there is a warning.
   */
  public void setScale(String name, double factor) {
    scaling.rescale(List.of(name), _ -> factor);
  }

  /**
   * Lets an adapter keep what it makes of the layers' weights from one call without gradients to
   * the next, as {@link Adapter#keepWhenServing} says: HiRA keeps W ⊙ (1 + M), which costs the
   * memory of the adapted weights once more and saves forming it for each call. It is made anew
   * after a training step, another file, or another factor.
   *
   * @param on false drops what is kept
   */
  public void keepWhenServing(String name, boolean on) {
    set.lock().change(() -> on(name).values().forEach(adapter -> adapter.keepWhenServing(on)));
  }

  /** Multiplies the factor of the active adapters. */
  public void scaleLayers(double factor) {
    scaling.multiply(factor);
  }

  /** Divides the factor of the active adapters. */
  public void unscaleLayers(double factor) {
    scaling.divide(factor);
  }

  /** Sets the factor of the active adapters back to 1. */
  public void unscaleLayers() {
    scaling.rescale(active(), _ -> 1);
  }

  /** Multiplies the factor of all adapters until the result is closed; 0 to 1 fades them in. */
  public Restorable rescaled(double factor) {
    return scaling.meanwhile(factor);
  }

  /**
   * Has no adapter compute with an input of another dtype than its own until the result is closed:
   * for a caller who casts inputs himself, and wants to know where he did not. Nests.
   *
   * @param active false for a scope that changes nothing
   */
  public Restorable disableInputDtypeCasting(boolean active) {
    return active ? new AdapterDtypes(set).inputsUncast() : new Restorable(List.of(), () -> {});
  }

  // ---- mixed batches

  /**
   * Runs a forward pass in which each row of the batch has its own adapter.
   *
   * @param names one name a row; {@link espalier.nn.Rows#BASE} for none
   * @param batch the number of rows
   * @param body the forward pass
   * @throws ConfigException if the model has no adapters, the names are not as many as the rows, or
   *     the model is in training mode or merged
   * @throws AdapterException for a name that is no adapter's
   * @throws UnsupportedAdapterException if one of them can not be an adapter of some rows only
   */
  public <T> T mixed(List<String> names, long batch, Supplier<T> body) {
    return new MixedBatch(set).run(names, batch, body);
  }

  // ---- status

  /** How each layer with adapters stands, in the model's order. */
  public List<LayerStatus> layerStatus() {
    return StatusReport.layers(set);
  }

  /** How the model stands. */
  public ModelStatus status() {
    return StatusReport.model(set);
  }

  /** {@code trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7713}. */
  public String trainableLine() {
    return Counts.of(model()).line();
  }

  // ---- training

  /**
   * What the active adapters add to the loss while they train, summed, or null for nothing. It
   * counts once an optimizer step, after its forward passes.
   *
   * @return a scalar with a graph, in the scope around
   */
  public @Nullable Tensor penalty() {
    return new TrainingNeeds(set).penalty();
  }

  /** Whether an active adapter learns from padded positions, so that they need a mask. */
  public boolean readsPadding() {
    return new TrainingNeeds(set).readsPadding();
  }

  /** Whether an active adapter looks at an example as a whole, so that examples share nothing. */
  public boolean needsWholeExamples() {
    return new TrainingNeeds(set).wholeExamples();
  }

  // ---- tensors

  /**
   * All tensors that collect gradients, by their key in the adapter's file; if several adapters
   * have some, the adapter's name and a slash stand before the key.
   */
  public Map<String, Tensor> parameters() {
    return new TrainedTensors(set).parameters();
  }

  /**
   * How tensors of {@link #parameters} are split over the ranks that compute the model, by their
   * key there. Those that are absent are whole on each rank.
   */
  public Map<String, Shard> shards() {
    return new TrainedTensors(set).shards();
  }

  /**
   * The tensors of an adapter by their key in its file, with embeddings as {@link
   * SaveEmbeddings#AUTO} says.
   */
  public Map<String, Tensor> state(String name) {
    return state(name, SaveEmbeddings.AUTO);
  }

  /**
   * The tensors of an adapter by their key in its file; handles stay owned by the layers. Where
   * several ranks compute the model, all of them must ask, and what is split is put together in the
   * caller's scope.
   */
  public Map<String, Tensor> state(String name, SaveEmbeddings embeddings) {
    return new SavedTensors(set).state(name, embeddings);
  }

  /**
   * What a saved adapter is to consist of: usually its config and {@link #state(String)}, but an
   * adapter whose start took something out of the base may be converted.
   *
   * @throws ConfigException if it is to be converted and can not be
   * @throws UnsupportedAdapterException under {@link #referenceRefusals}, beside other methods
   */
  public AdapterContents contents(String name, SaveStart how) {
    return contents(name, how, SaveEmbeddings.AUTO);
  }

  /** As above, with or without the base's embeddings. */
  public AdapterContents contents(String name, SaveStart how, SaveEmbeddings embeddings) {
    return new SavedTensors(set).contents(name, how, embeddings);
  }

  /**
   * Gives the base back what the start of an adapter took out, as PiSSA, OLoRA, CorDA and LoRA-GA
   * do, and makes the adapter plain LoRA of twice the rank, so that the model computes what it did.
   * Its tensors are new ones: an optimizer that knows the old ones must be made again. Without such
   * a start nothing happens.
   *
   * @throws IllegalStateException while something is merged
   * @throws ConfigException if the adapter can not be converted; nothing is changed
   */
  public void restoreBase(String name) {
    BaseRestoring.of(set, name, arrivals.factories());
  }

  /**
   * Refuses a base that is not the one that an adapter was first put on, before the adapter is
   * loaded: its start would take something else out of it.
   *
   * @param name the adapter's name, for the message
   * @param base what the weights were, by the path of their layer; unknown paths are passed over
   * @throws IllegalStateException naming a layer whose weight is another
   */
  public void requireBase(String name, Map<String, WeightSketch> base) {
    new FirstBase(name, base).requireIn(set);
  }

  /**
   * Refuses tensors of an adapter that was first put on another base than one that is there, before
   * they take the place of its own: its start took something else out of the base.
   *
   * @param adapter the adapter that is there
   * @param name what the tensors are called in the message
   * @param base what the weights were when they were new, by the path of their layer; unknown paths
   *     are passed over
   * @throws IllegalStateException naming a layer whose weight was another
   */
  public void requireBaseOf(String adapter, String name, Map<String, WeightSketch> base) {
    new FirstBase(name, base).requireOf(set.entry(adapter));
  }

  /**
   * Puts saved tensors in the place of those of an adapter that is there.
   *
   * @param saved tensors by their key, with or without {@code base_model.model.}
   * @throws StateMismatchException naming layers whose tensors do not fit; nothing is changed
   */
  public LoadResult setState(String name, Map<String, Tensor> saved, LoadOptions options) {
    return new LoadedTensors(set).load(name, saved, options);
  }
}
