package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.ParallelStyle;
import espalier.nn.Partition;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on layers of which each rank has a part. The factor beside the dimension that is split is
 * split with it, and the other one is the same on all ranks.
 */
final class ParallelLayers {

  private ParallelLayers() {}

  static Adapter create(
      LoraConfig config, Adaptable layer, String path, Init init, Partition partition) {
    ParallelStyle style = partition.style();
    boolean megatron = config.megatron().config() != null;
    requireVariant(config, path, partition);
    if (layer instanceof Embedding embedding) {
      if (style != ParallelStyle.EMBEDDING_ROW) {
        throw refuse(path, partition, "an embedding's adapter", "use embedding_rowwise");
      }
      return new ParallelEmbedding(config, embedding, path, init, partition);
    }
    Linear linear = (Linear) layer;
    if (megatron) {
      requireMegatron(config, linear, path, partition);
    }
    if (config.variant() instanceof LoraVariant.Bdlora bd) {
      LoraLinear blocks = blocks(config, bd, linear, path, init, partition);
      if (blocks != null) {
        return blocks;
      }
    }
    if (leavesWhole(config, layer)) {
      return new UnsplitLora(config, linear, path, init, partition);
    }
    return style == ParallelStyle.COLUMN_GATHERED
        ? new GatheredLora(config, linear, path, init, partition)
        : new ParallelLora(config, linear, path, init, partition);
  }

  /** Whether an adapter on this layer stays whole on each rank although the layer is split. */
  static boolean leavesWhole(LoraConfig config, Adaptable layer) {
    Partition partition = layer.partition();
    return partition != null
        && config.megatron().config() == null
        && switch (partition.style()) {
          case COLUMN_GATHERED, ROW_SPLIT_INPUT -> true;
          default -> false;
        };
  }

  /** What the user should know where {@link #leavesWhole}. */
  static String whole(Adaptable layer) {
    Partition partition = layer.partition();
    return "the plan %s is not known to LoRA, so each rank has the whole adapter; colwise and rowwise split it too"
        .formatted(partition == null ? "" : partition.style().planName());
  }

  /** BD-LoRA whose blocks are those that the ranks have, or null where no factor is in blocks. */
  private static @Nullable LoraLinear blocks(
      LoraConfig config,
      LoraVariant.Bdlora bd,
      Linear layer,
      String path,
      Init init,
      Partition partition) {
    BlockDiagonal.Factor factor = BlockDiagonal.factor(config, bd, path);
    if (factor == BlockDiagonal.Factor.NEITHER) {
      return null;
    }
    int ranks = partition.ranks().size();
    if (bd.blocks() % ranks != 0) {
      throw new ConfigException(
          "%s is split over %d ranks, which use_bdlora.nblocks %d is no multiple of; each rank has blocks of its own, so take one"
              .formatted(path, ranks, bd.blocks()));
    }
    if (factor == BlockDiagonal.Factor.A && partition.style() == ParallelStyle.ROW) {
      return new ParallelBlocksA(config, layer, path, init, partition, bd.blocks());
    }
    if (factor == BlockDiagonal.Factor.B && partition.style() == ParallelStyle.COLUMN) {
      return new ParallelBlocksB(config, layer, path, init, partition, bd.blocks());
    }
    throw refuse(
        path,
        partition,
        "use_bdlora with blocks in " + factor,
        "put blocks into A where the plan is rowwise and into B where it is colwise");
  }

  private static void requireVariant(LoraConfig config, String path, Partition partition) {
    switch (config.variant()) {
      case LoraVariant.Plain(), LoraVariant.Bdlora _ -> {}
      default ->
          throw refuse(path, partition, config.variant().field(), "leave it or the layer out");
    }
  }

  private static void requireMegatron(
      LoraConfig config, Linear layer, String path, Partition partition) {
    if (config.loraBias()) {
      throw refuse(path, partition, "lora_bias with megatron_config", "turn the bias off");
    }
    if (!(config.variant() instanceof LoraVariant.Plain)) {
      throw refuse(
          path,
          partition,
          config.variant().field() + " with megatron_config",
          "leave one of the two out");
    }
    if (layer.transposed()) {
      throw refuse(
          path,
          partition,
          "megatron_config with a weight stored as [in, out]",
          "leave megatron_config out");
    }
  }

  static UnsupportedAdapterException refuse(
      String path, Partition partition, String what, String way) {
    return new UnsupportedAdapterException(
        "%s is split %s over %d ranks, where %s does not exist; %s"
            .formatted(path, partition.style().planName(), partition.ranks().size(), what, way));
  }
}
