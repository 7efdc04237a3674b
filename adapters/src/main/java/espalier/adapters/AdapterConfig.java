package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Layer;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The settings of one adapter, and the maker of what it puts on a layer. The interface is open: a
 * method is a config, its {@link AdapterFormat}, and the {@link Adapter}s that it creates.
 *
 * <p>A config is immutable, compares by value, and refuses wrong values when it is made.
 */
public interface AdapterConfig {

  /** How configs of this method stand on disk. */
  AdapterFormat<?> format();

  /** The method's name in files, such as {@code LORA}. */
  default String peftType() {
    return format().peftType();
  }

  /** What all methods say. */
  ConfigHead head();

  /** The same config with another head. */
  AdapterConfig withHead(ConfigHead head);

  /**
   * The config as this model has it: names of layers that models of its kind used to have become
   * those of today.
   *
   * @param layers the model's layers by path
   */
  default AdapterConfig on(Map<String, Layer> layers, ModelFacts facts) {
    return this;
  }

  /** The layers concerned. */
  Targets targets();

  /** The same config with other targets; attaching uses it to write down what it resolved. */
  AdapterConfig withTargets(Targets targets);

  /** Whether the method adapts the products of {@link espalier.nn.MultiheadAttention}. */
  default boolean adaptsAttention() {
    return false;
  }

  /** Which biases of the base train along. */
  default BiasTraining bias() {
    return BiasTraining.NONE;
  }

  /** Rows of embeddings that are trained by themselves, or null. */
  default @Nullable TokenRows tokens() {
    return null;
  }

  /** Whether layers that share one weight are to share what is trained on it. */
  default boolean ensureWeightTying() {
    return false;
  }

  /**
   * Ranges [start, end) of the model's blocks that are strung together before all else, or null.
   */
  default @Nullable List<List<Integer>> layerReplication() {
    return null;
  }

  /** Settings that go by path, by the name of their field, for a warning about unused keys. */
  default Map<String, PathMap<?>> patterns() {
    return Map.of();
  }

  /**
   * Makes the adapter of one layer. The layer is not changed.
   *
   * @param layer the layer
   * @param path its path in the model, for patterns and errors
   * @param init where first values are drawn from
   * @throws UnsupportedAdapterException if the method does not exist for this kind of layer
   * @throws ConfigException if the settings do not fit this layer
   */
  Adapter create(Adaptable layer, String path, Init init);

  /**
   * Makes the adapter of a layer that shares its weight with another one, out of the adapter there.
   *
   * @param leader what this config made for the other layer
   * @param leaderPath the path of the other layer
   * @return an adapter that is a {@link Follower}
   * @throws UnsupportedAdapterException if the method can not tie what it trains
   */
  default Adapter follow(Adapter leader, String leaderPath, Adaptable layer, String path) {
    throw new UnsupportedAdapterException(
        "ensure_weight_tying asks that %s follows %s, which %s can not do; leave it out"
            .formatted(path, leaderPath, peftType()));
  }

  /**
   * How an adapter of this config takes over the tensors of another adapter, which was trained with
   * the next config.
   *
   * @throws ConfigException if the method can not, or naming the field in which the two differ
   */
  default Swapping swapping(AdapterConfig next) {
    throw new ConfigException(
        "adapters of %s can not be swapped in place, only those of LORA; delete it and load the other"
            .formatted(peftType()));
  }

  /**
   * Whether the method exists for layers of which each rank has a part only. Such an adapter says
   * by {@link Adapter#shard} what of it is split.
   */
  default boolean knowsShards() {
    return false;
  }

  /**
   * Whether the start of this adapter changes the base in a way that attaching it again can not
   * repeat, because it drew or saw data.
   */
  default boolean unrepeatableStart() {
    return false;
  }

  /**
   * Whether loading such an adapter works something out of the base again, so that it must be the
   * base that this adapter was first put on.
   */
  default boolean needsItsBase() {
    return false;
  }

  /** Why {@link #withoutStart} can not be had, as a sentence, or null if it can. */
  default @Nullable String withoutStartRefusal() {
    return null;
  }

  /**
   * What the method adds to the loss while it trains, or null for nothing. It counts once an
   * optimizer step beside the mean loss of the tokens.
   *
   * @param adapters what this config's adapter has on its layers
   * @return a scalar with a graph
   */
  default @Nullable Tensor penalty(Collection<Adapter> adapters) {
    return null;
  }

  /**
   * The same adapter for the base as it was before the start took something out of it.
   *
   * @param trained tensors by their name or key
   * @param initial their {@linkplain Adapter#initial first values}, by the same
   * @throws ConfigException if it can not be had
   */
  default AdapterContents withoutStart(Map<String, Tensor> trained, Map<String, Tensor> initial) {
    return new AdapterContents(this, trained);
  }

  /**
   * The same adapter as one of another method, which computes the same.
   *
   * @param method the other method's name in files, such as {@code HIRA}
   * @param tensors by their key in the adapter's file
   * @throws ConfigException if there is no such form
   */
  default AdapterContents exportedAs(String method, Map<String, Tensor> tensors) {
    throw new ConfigException(
        "%s can not be exported as %s; it is saved in a form of its own only"
            .formatted(peftType(), method));
  }

  /**
   * Whether training looks at padded positions too. Where it does, they are computed under a mask,
   * so that what stands there depends on the row alone.
   */
  default boolean readsPadding() {
    return false;
  }

  /**
   * Whether what the adapter does at a token depends on more than the tokens up to it, so that
   * examples that begin alike can not share the work for their beginning.
   */
  default boolean needsWholeExamples() {
    return readsPadding();
  }

  /**
   * What a layer lacks so that an adapter of this config can not be merged into it as the model is,
   * a sentence without the path, or null. What no layer of the kind can ever have is for {@link
   * Adapter#mergeRefusal} to say.
   */
  default @Nullable String missingForMerge(Adaptable layer) {
    return null;
  }

  /** What the user should know about this adapter on this layer, sentences without the path. */
  default List<String> warnings(Adaptable layer) {
    return List.of();
  }

  /**
   * Checks whether an adapter with this config can be on one model with another; both are asked.
   *
   * @param name the other adapter's name
   * @param other its config
   * @throws AdapterException if it can not
   */
  default void requireBeside(String name, AdapterConfig other) {}

  /** What the user should know about an adapter as it starts on this layer, without the path. */
  default List<String> warnings(Adaptable layer, Adapter made) {
    return warnings(layer);
  }

  /** What the user should know about this config beside others on one model, sentences. */
  default List<String> warnings(Map<String, AdapterConfig> others) {
    return List.of();
  }
}
