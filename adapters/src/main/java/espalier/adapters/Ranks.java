package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Partition;
import espalier.nn.Shard;
import java.util.LinkedHashMap;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What an adapter asks of the ranks that compute its model together. */
final class Ranks {

  private Ranks() {}

  /** Refuses a method that does not exist for layers of which a rank has a part only. */
  static void require(AdapterConfig config, Adaptable layer, String path) {
    if (splits(layer) && !config.knowsShards()) {
      throw refuse(
          layer,
          path,
          config.peftType(),
          "use LORA, or take the layer out of the targets or of the plan");
    }
  }

  /** Refuses rows of single tokens on such a layer, of which another rank may have them. */
  static void requireRows(Adaptable layer, String path) {
    if (splits(layer)) {
      throw refuse(
          layer,
          path,
          "trainable_token_indices",
          "take the layer out of the plan, or leave the tokens out");
    }
  }

  /** Refuses a layer that shares what another one trains where a rank has a part of either. */
  static void requireTie(Adaptable layer, String path, Adapter leader) {
    Adaptable split = splits(layer) ? layer : leader.layer();
    if (splits(split)) {
      throw refuse(
          split,
          path,
          "ensure_weight_tying",
          "set it to false, or take the layers that share a weight out of the plan");
    }
  }

  private static boolean splits(Adaptable layer) {
    Partition partition = layer.partition();
    return partition != null && partition.splits();
  }

  private static UnsupportedAdapterException refuse(
      Adaptable layer, String path, String what, String way) {
    Partition partition = Objects.requireNonNull(layer.partition());
    return new UnsupportedAdapterException(
        "%s is split %s over %d ranks, where %s does not exist; %s"
            .formatted(path, partition.style().planName(), partition.ranks().size(), what, way));
  }

  /** Gives what each rank has all of the values of rank 0, whatever each of them drew. */
  static void agree(Adapter adapter) {
    Partition partition = adapter.layer().partition();
    if (partition == null) {
      return;
    }
    var other = new LinkedHashMap<String, Tensor>();
    adapter
        .state()
        .forEach(
            (name, tensor) -> {
              if (adapter.shard(name) == null) {
                Tensor first = tensor.clone();
                partition.ranks().broadcast(first);
                if (!first.equal(tensor)) {
                  other.put(name, first);
                }
              }
            });
    if (!other.isEmpty()) {
      adapter.load(other);
    }
  }

  /** Whether something holds on every rank that has a part of a layer. */
  static boolean all(Adaptable layer, boolean here) {
    Partition partition = layer.partition();
    return partition == null ? here : partition.ranks().all(here);
  }

  static @Nullable Shard ofWeight(Adaptable layer) {
    Partition partition = layer.partition();
    return partition == null ? null : partition.weight();
  }

  /** The weight of the base before anything was merged, put together. */
  static Tensor wholeWeight(Adaptable layer) {
    return whole(ofWeight(layer), layer.originalWeight());
  }

  static Tensor whole(@Nullable Shard shard, Tensor part) {
    return shard == null ? part : shard.whole(part);
  }

  /** This rank's part of a tensor from a file, or null if it can not be split. */
  static @Nullable Tensor part(@Nullable Shard shard, Tensor whole) {
    if (shard == null) {
      return whole;
    }
    return shard.splits(whole) ? shard.of(whole) : null;
  }
}
