package espalier.nn.parallel;

import espalier.nn.Adaptable;
import espalier.nn.Collective;
import espalier.nn.Embedding;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.ParallelStyle;
import espalier.nn.Partition;
import espalier.nn.QuantisedWeight;
import espalier.nn.Scope;
import espalier.nn.Shard;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Which layers of a model are split over ranks, and how. Layers that the plan does not name are
 * whole on each rank.
 *
 * <pre>{@code
 * ParallelPlan.of(Map.of(
 *         "model.layers.*.mlp.up_proj", "colwise",
 *         "model.layers.*.mlp.down_proj", "rowwise"))
 *     .apply(model, ranks);
 * }</pre>
 *
 * @param styles how a layer is split, by its path, in which {@code *} stands for any one name
 */
public record ParallelPlan(Map<String, ParallelStyle> styles) {

  /** Copies the map. */
  public ParallelPlan {
    styles = Collections.unmodifiableMap(new LinkedHashMap<>(styles));
  }

  /** A plan in the words of Transformers' {@code tp_plan}. */
  public static ParallelPlan of(Map<String, String> words) {
    var styles = new LinkedHashMap<String, ParallelStyle>();
    words.forEach((pattern, word) -> styles.put(pattern, ParallelStyle.named(word)));
    return new ParallelPlan(styles);
  }

  /** The same plan with one more pattern, or another style for one. */
  public ParallelPlan with(String pattern, ParallelStyle style) {
    var all = new LinkedHashMap<>(styles);
    all.put(pattern, style);
    return new ParallelPlan(all);
  }

  /**
   * Splits a model, or changes nothing if it fails: each rank keeps its part of the layers that are
   * split. All ranks must do it, before adapters are attached.
   *
   * @throws IllegalArgumentException if a pattern matches no layer, a layer can not be split this
   *     way, or a size is no multiple of the number of ranks
   * @throws IllegalStateException if the model is split already or has adapters
   */
  public void apply(Layer model, Collective ranks) {
    var layers = new LinkedHashMap<Adaptable, Partition>();
    var unused = new LinkedHashSet<>(styles.keySet());
    model.walk(
        (path, layer) -> {
          String pattern = pattern(path);
          ParallelStyle style =
              pattern == null
                  ? ParallelStyle.REPLICATED
                  : Objects.requireNonNull(styles.get(pattern));
          if (layer instanceof Adaptable adaptable) {
            var partition = new Partition(ranks, style);
            requireFits(path, adaptable, partition);
            layers.put(adaptable, partition);
            unused.remove(pattern);
          }
        });
    if (!unused.isEmpty()) {
      throw new IllegalArgumentException(
          "the plan names %s but no layer of the model has such a path".formatted(unused));
    }
    split(layers);
  }

  private static void split(Map<Adaptable, Partition> layers) {
    var parts = new LinkedHashMap<Twin, Adaptable>();
    var undo = new ArrayDeque<Runnable>();
    try (var _ = Scope.open()) { // keeps the whole weights until no layer can fail any more
      try {
        layers.forEach(
            (layer, partition) -> {
              Twin twin = partition.splits() ? twin(layer, partition) : null;
              undo.push(layer.split(partition, twin == null ? null : parts.get(twin)));
              if (twin != null) {
                parts.putIfAbsent(twin, layer);
              }
            });
      } catch (RuntimeException | Error e) {
        undo.forEach(Runnable::run);
        throw e;
      }
    }
  }

  private @Nullable String pattern(String path) {
    if (styles.containsKey(path)) {
      return path;
    }
    String[] names = path.split("\\.", -1);
    return styles.keySet().stream().filter(p -> matches(p, names)).findFirst().orElse(null);
  }

  private static boolean matches(String pattern, String[] names) {
    String[] wanted = pattern.split("\\.", -1);
    boolean same = wanted.length == names.length;
    for (int i = 0; same && i < names.length; i++) {
      same = wanted[i].equals("*") || wanted[i].equals(names[i]);
    }
    return same;
  }

  private static void requireFits(String path, Adaptable layer, Partition partition) {
    ParallelStyle style = partition.style();
    boolean kind =
        !style.splits()
            || (style.ofEmbedding() ? layer instanceof Embedding : layer instanceof Linear);
    if (!kind) {
      throw new IllegalArgumentException(
          "%s is a %s, which can not be split %s; take it out of the plan"
              .formatted(path, layer.typeName(), style.planName()));
    }
    if (style == ParallelStyle.REPLICATED_SUMMED && layer.bias() != null) {
      throw new IllegalArgumentException(
          "%s has a bias, which %s does not know; take it out of the plan"
              .formatted(path, style.planName()));
    }
    QuantisedWeight codes = layer instanceof Linear linear ? linear.quantised() : null;
    if (style.splits() && codes != null) {
      throw new IllegalArgumentException(
          "%s is quantised as %s, of which a rank can not keep a part; load the model unquantised, or take the layer out of the plan"
              .formatted(path, codes.format()));
    }
    Shard shard = partition.weight();
    if (shard != null && !shard.splits(layer.weight())) {
      throw new IllegalArgumentException(
          "%s is %s, whose size %d is no multiple of the %d ranks; take another number of ranks, or the layer out of the plan"
              .formatted(
                  path,
                  Arrays.toString(layer.weight().shape()),
                  layer.weight().size(shard.dimension()),
                  shard.ranks().size()));
    }
    Tensor bias = layer.bias();
    Shard ofBias = partition.bias();
    if (bias != null && ofBias != null && !ofBias.splits(bias)) {
      throw new IllegalArgumentException(
          "%s has a bias %s, whose size is no multiple of the %d ranks; take another number of ranks, or the layer out of the plan"
              .formatted(path, Arrays.toString(bias.shape()), ofBias.ranks().size()));
    }
    if (layer.partition() != null || !layer.adapters().all().isEmpty()) {
      throw new IllegalStateException(
          "%s %s; split a model once, before adapters are attached"
              .formatted(path, layer.partition() != null ? "is split already" : "has adapters"));
    }
  }

  /** Layers with the same weight in the same place and the same way to split it. */
  private record Twin(long address, String shape, int dimension) {}

  private static Twin twin(Adaptable layer, Partition partition) {
    Tensor weight = layer.weight();
    return new Twin(
        weight.data_ptr().address(),
        Arrays.toString(weight.shape()),
        partition.style().weightDimension());
  }
}
