package espalier.adapters;

import espalier.nn.Layer;
import espalier.nn.Replicable;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * {@code layer_replication}: blocks of the model strung together before the layers are looked up.
 */
final class Replication implements AutoCloseable {

  private final Replicable.@Nullable Repetition repetition;

  private Replication(Replicable.@Nullable Repetition repetition) {
    this.repetition = repetition;
  }

  /**
   * Repeats the blocks as the config asks, until {@link #keep} or the end says whether they stay
   * so. A model that is repeated so already is left as it is.
   *
   * @throws TargetException if the model has no list of blocks that could be repeated
   * @throws ConfigException if a range is outside of it
   * @throws AdapterException if the model is repeated in another way, or has adapters already
   */
  static Replication of(Layer model, AdapterConfig config, List<String> warnings) {
    List<List<Integer>> ranges = config.layerReplication();
    if (ranges == null || ranges.isEmpty()) {
      return new Replication(null);
    }
    if (!(model instanceof Replicable blocks) || blocks.sources().isEmpty()) {
      throw new TargetException(
          "layer_replication is for models of one list of blocks, which this %s is not; leave it out"
              .formatted(model.typeName()));
    }
    List<Integer> now = blocks.sources();
    List<Integer> wanted =
        ranges.stream()
            .flatMap(range -> IntStream.range(range.get(0), range.get(1)).boxed())
            .toList();
    if (now.equals(wanted)) {
      if (!blocks.replicas().isEmpty()) {
        warnings.add(
            "the blocks are repeated as layer_replication %s asks already".formatted(ranges));
      }
      return new Replication(null);
    }
    if (!now.equals(IntStream.range(0, now.size()).boxed().toList())) {
      throw new AdapterException(
          "layer_replication %s asks for the blocks %s but the model was made into %s before; load the base anew"
              .formatted(ranges, wanted, now));
    }
    if (wanted.stream().anyMatch(block -> block >= now.size())) {
      throw new ConfigException(
          "layer_replication %s reaches beyond the model's %d blocks, 0 to %d; a range is [start, end)"
              .formatted(ranges, now.size(), now.size() - 1));
    }
    try {
      return new Replication(blocks.repeat(wanted.stream().mapToInt(i -> i).toArray()));
    } catch (IllegalStateException e) {
      throw new AdapterException(
          "layer_replication %s: the model has adapters already, and they belong to the blocks as they are; load this adapter first"
              .formatted(ranges));
    }
  }

  /** Lets the blocks stay as they are now. */
  void keep() {
    if (repetition != null) {
      repetition.keep();
    }
  }

  @Override
  public void close() {
    if (repetition != null) {
      repetition.close();
    }
  }
}
