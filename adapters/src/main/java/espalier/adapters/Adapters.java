package espalier.adapters;

import static java.util.stream.Collectors.toCollection;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Collective;
import espalier.nn.Layer;
import espalier.nn.Shard;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.DoubleUnaryOperator;
import java.util.function.Function;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
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

  private static final Set<ScalarType> DTYPES =
      EnumSet.of(ScalarType.Double, ScalarType.Float, ScalarType.BFloat16, ScalarType.Half);

  private final AdapterSet set;
  private final Activation activation;
  private final Merging merging;
  private final AdapterState tensors;
  private final Map<Class<? extends Adaptable>, AdapterFactory> factories = new HashMap<>();
  private boolean mixedMethods;

  private Adapters(AdapterSet set) {
    this.set = set;
    activation = new Activation(set);
    merging = new Merging(set);
    tensors = new AdapterState(set);
  }

  /** The adapters of a model that has none yet. The model stays the caller's to close. */
  public static Adapters of(Layer model, ModelFacts facts) {
    return new Adapters(new AdapterSet(model, facts));
  }

  /** Allows adapters of different methods on this model. */
  public Adapters allowMixedMethods() {
    mixedMethods = true;
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
    factories.put(type, factory);
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
    var warnings = new ArrayList<String>();
    if (!names().isEmpty()) {
      warnings.add("the model has the adapters %s already".formatted(names()));
    }
    Entry entry = joining().join(name, config, options, null, warnings).entry();
    warnings.addAll(activation.activate(List.of(name), config.head().inferenceMode()));
    return entry.attached(AdapterSet.told(warnings));
  }

  /** Attaches an adapter that is neither active nor trainable yet. */
  public Attached add(String name, AdapterConfig config, AttachOptions options) {
    var warnings = new ArrayList<String>();
    Entry entry = joining().join(name, config, options, null, warnings).entry();
    return entry.attached(AdapterSet.told(warnings));
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
    boolean first = names().isEmpty();
    var warnings = new ArrayList<>(Devices.check(model(), options));
    if (config.unrepeatableStart() && initial.isEmpty()) {
      warnings.add(
          "the start of %s can not be repeated without its first values, so the base is not quite the one that it was trained on; convert it to plain LoRA where its initial adapter is at hand"
              .formatted(name));
    }
    AdapterConfig own = config.withHead(config.head().withInferenceMode(!options.trainable()));
    var attaching =
        AttachOptions.of(InitSource.blank().withInitial(initial))
            .withAutocast(options.autocast())
            .withLowMemory(options.lowMemory());
    var joined = joining().join(name, own, attaching, new Joining.Saved(saved, options), warnings);
    if (first) {
      warnings.addAll(activation.activate(List.of(name), !options.trainable()));
    }
    if (!options.trainable()) {
      model().train(false);
    }
    return tensors.finish(joined.entry(), Objects.requireNonNull(joined.fit()), warnings);
  }

  private Joining joining() {
    return new Joining(set, factories, mixedMethods);
  }

  // ---- what is there

  /** Names of all adapters, in the order they came. */
  public List<String> names() {
    return List.copyOf(set.entries().keySet());
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
    set.requireAll(names);
    return setActive(names, names.stream().allMatch(name -> config(name).head().inferenceMode()));
  }

  /**
   * Makes these adapters the active ones, in this order. What is merged is unmerged first.
   *
   * @param inferenceMode whether none of them is to be trained
   * @return warnings
   * @throws AdapterException if two of them have a copy of the same layer
   */
  public List<String> setActive(List<String> names, boolean inferenceMode) {
    return changed(() -> AdapterSet.told(activation.activate(names, inferenceMode)));
  }

  /** Switches the gradients of adapters on or off without activating them. */
  public void setRequiresGrad(Collection<String> names, boolean on) {
    set.requireAll(names);
    names.forEach(name -> set.entry(name).trainable(on));
  }

  /**
   * Gives the tensors of an adapter another dtype, in place: float32, in which adapters train, or
   * the base's, which takes less memory. Training takes an optimizer of its own from there on.
   */
  public void cast(String name, ScalarType dtype) {
    set.entry(name);
    if (!DTYPES.contains(dtype)) {
      throw new ConfigException(
          "an adapter can not be %s; choose one of %s".formatted(dtype, DTYPES));
    }
    set.requireUnmerged("the dtype of %s can not be changed".formatted(name));
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      set.lock().change(() -> on(name).values().forEach(adapter -> adapter.to(dtype)));
    }
  }

  /**
   * Turns all adapters off until the result is closed; nests. What is merged is unmerged first and
   * stays so.
   */
  public Restorable disable() {
    return changed(activation::disable);
  }

  /**
   * Deletes an adapter. If it was the only active one, the alphabetically first of the others
   * becomes active; if none is left, the model computes as its base.
   *
   * @return warnings
   * @throws IllegalStateException if it is merged
   */
  public List<String> delete(String name) {
    return changed(() -> AdapterSet.told(activation.delete(name)));
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
    set.requireAll(names);
    var together = new ArrayList<>(merged());
    together.addAll(names);
    activation.requireOneOwner(together);
    return changed(() -> merging.merge(names, options));
  }

  /**
   * Puts the weights of the base back, bit for bit.
   *
   * @return warnings
   */
  public List<String> unmerge() {
    boolean nothing = merged().isEmpty();
    set.lock().change(set::unmerge);
    return AdapterSet.told(nothing ? List.of("nothing is merged") : List.of());
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
    set.requireAll(names);
    activation.requireOneOwner(names);
    return changed(
        () -> {
          MergeResult result = merging.switchTo(names, safe);
          activation.activateMerged(names);
          return result;
        });
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
    return changed(
        () -> {
          MergeResult result = merge(names, options);
          merging.settle();
          return result;
        });
  }

  /**
   * Drops all adapters; the weights are what they were before, but for trained biases.
   *
   * @return warnings
   */
  public List<String> unload() {
    return changed(merging::unload);
  }

  /** Makes a change while no forward pass is under way; see {@link #steady}. */
  private <T> T changed(Supplier<T> change) {
    var result = new AtomicReference<@Nullable T>();
    set.lock().change(() -> result.set(change.get()));
    return Objects.requireNonNull(result.get());
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
    return new HotSwap(set, tensors).swap(name, next, saved);
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
    requireSome();
    new HotSwap(set, tensors).widen(rank);
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
    rescale(List.of(name), _ -> factor);
  }

  private void rescale(Collection<String> names, DoubleUnaryOperator factor) {
    List<String> merged = names.stream().filter(merged()::contains).toList();
    if (!merged.isEmpty()) {
      AdapterSet.told(
          List.of(
              "%s is merged with the factor that it had; unmerge it and merge it again for the new one"
                  .formatted(merged)));
    }
    set.lock()
        .change(
            () ->
                names.forEach(
                    name ->
                        on(name).values().forEach(a -> a.scale(factor.applyAsDouble(a.scale())))));
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
    rescale(active(), scale -> scale * factor);
  }

  /** Divides the factor of the active adapters. */
  public void unscaleLayers(double factor) {
    if (factor == 0) {
      throw new ConfigException("a factor can not be divided by 0; unscaleLayers() sets it to 1");
    }
    scaleLayers(1 / factor);
  }

  /** Sets the factor of the active adapters back to 1. */
  public void unscaleLayers() {
    rescale(active(), _ -> 1);
  }

  /** Multiplies the factor of all adapters until the result is closed; 0 to 1 fades them in. */
  public Restorable rescaled(double factor) {
    if (!Double.isFinite(factor)) {
      throw new ConfigException(
          "the scale is %s but a finite number is needed; 1 is the adapter as trained"
              .formatted(factor));
    }
    requireSome();
    var before = new LinkedHashMap<Adapter, Double>();
    names().forEach(name -> on(name).values().forEach(a -> before.put(a, a.scale())));
    rescale(names(), scale -> scale * factor);
    return new Restorable(List.of(), () -> set.lock().change(() -> before.forEach(Adapter::scale)));
  }

  /**
   * Has no adapter compute with an input of another dtype than its own until the result is closed:
   * for a caller who casts inputs himself, and wants to know where he did not. Nests.
   *
   * @param active false for a scope that changes nothing
   */
  public Restorable disableInputDtypeCasting(boolean active) {
    var before = new LinkedHashMap<Adaptable, Boolean>();
    if (active) {
      set.adaptables().values().forEach(a -> before.put(a, a.adapters().castsInputs()));
    }
    before.keySet().forEach(layer -> layer.adapters().castInputs(false));
    return new Restorable(
        List.of(), () -> before.forEach((layer, on) -> layer.adapters().castInputs(on)));
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
    requireSome();
    return StatusReport.layers(model());
  }

  /** How the model stands. */
  public ModelStatus status() {
    requireSome();
    var types = new LinkedHashMap<String, String>();
    set.entries().forEach((name, entry) -> types.put(name, entry.config().peftType()));
    return StatusReport.model(model(), types);
  }

  private void requireSome() {
    if (names().isEmpty()) {
      throw new TargetException("the model has no adapter; attach one first");
    }
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
    Tensor sum = null;
    for (String name : active()) {
      Tensor own = config(name).penalty(on(name).values());
      if (own != null) {
        sum = sum == null ? own : sum.add(own);
      }
    }
    return sum;
  }

  /** Whether an active adapter learns from padded positions, so that they need a mask. */
  public boolean readsPadding() {
    return active().stream().anyMatch(name -> config(name).readsPadding());
  }

  // ---- tensors

  /**
   * All tensors that collect gradients, by their key in the adapter's file; if several adapters
   * have some, the adapter's name and a slash stand before the key.
   */
  public Map<String, Tensor> parameters() {
    return tensors.parameters();
  }

  /**
   * How tensors of {@link #parameters} are split over the ranks that compute the model, by their
   * key there. Those that are absent are whole on each rank.
   */
  public Map<String, Shard> shards() {
    return tensors.shards();
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
    return tensors.state(name, embeddings);
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
    if (set.referenceRefusals()) {
      requireOneMethod(name);
    }
    return tensors.contents(name, how, embeddings);
  }

  private void requireOneMethod(String name) {
    Set<String> methods =
        names().stream().map(each -> config(each).peftType()).collect(toCollection(TreeSet::new));
    if (methods.size() > 1) {
      throw new UnsupportedAdapterException(
          "%s can not be saved because its model has adapters of %s and the reference saves none of them; switch referenceRefusals off to save each in a folder of its own"
              .formatted(name, methods));
    }
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
    Entry entry = set.entry(name);
    if (on(name).values().stream().allMatch(adapter -> adapter.takenOut() == null)) {
      return;
    }
    set.requireUnmerged("the base can not be restored");
    try (var restoring = new BaseRestoring(entry, factories)) {
      set.lock().change(() -> restoring.run(set.active()));
    }
    entry.referenceRefusals(set.referenceRefusals());
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
    Map<String, Adaptable> layers = set.adaptables();
    requireBase(
        name,
        base,
        path -> {
          Adaptable layer = layers.get(path);
          return layer == null ? null : WeightSketch.of(layer);
        });
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
    requireBase(name, base, set.entry(adapter).base()::get);
  }

  private static void requireBase(
      String name,
      Map<String, WeightSketch> base,
      Function<String, @Nullable WeightSketch> present) {
    List<String> others =
        base.entrySet().stream()
            .filter(
                each -> {
                  WeightSketch own = present.apply(each.getKey());
                  return own != null && !own.matches(each.getValue());
                })
            .map(Map.Entry::getKey)
            .toList();
    if (!others.isEmpty()) {
      throw new IllegalStateException(
          "the weight of %s is not the one that %s was first put on%s: its start takes something out of the base and needs the untouched one; load the base anew, without other such adapters on it"
              .formatted(
                  others.getFirst(),
                  name,
                  others.size() == 1 ? "" : ", and %d more".formatted(others.size() - 1)));
    }
  }

  /**
   * Puts saved tensors in the place of those of an adapter that is there.
   *
   * @param saved tensors by their key, with or without {@code base_model.model.}
   * @throws StateMismatchException naming layers whose tensors do not fit; nothing is changed
   */
  public LoadResult setState(String name, Map<String, Tensor> saved, LoadOptions options) {
    return tensors.load(name, saved, options);
  }
}
