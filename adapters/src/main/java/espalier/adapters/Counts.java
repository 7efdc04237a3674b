package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** How many parameters a model has, and how many of them are trained; shared ones count once. */
final class Counts {

  private final Set<Long> seen = new HashSet<>();
  private long trainable;
  private long total;

  private Counts() {}

  static Counts of(Layer model) {
    var counts = new Counts();
    try (var _ = new PointerScope()) {
      model.walk(
          (_, layer) -> {
            layer.parameters().forEach((name, p) -> counts.add(p, shard(layer, name)));
            if (layer instanceof Linear linear && linear.quantised() != null) {
              counts.total += linear.in() * linear.out(); // as many as the codes stand for
            }
            if (layer instanceof Adaptable adaptable) {
              adaptable
                  .adapters()
                  .all()
                  .values()
                  .forEach(
                      adapter ->
                          adapter
                              .counted()
                              .forEach((name, p) -> counts.add(p, adapter.shard(name))));
            }
          });
    }
    return counts;
  }

  private static @Nullable Shard shard(Layer layer, String name) {
    Partition partition = layer instanceof Adaptable adaptable ? adaptable.partition() : null;
    if (partition == null) {
      return null;
    }
    return name.equals("bias") ? partition.bias() : partition.weight();
  }

  /** Counts a parameter; of one that is split, what all ranks have of it. */
  private void add(Tensor parameter, @Nullable Shard shard) {
    if (seen.add(parameter.data_ptr().address())) {
      long entries = parameter.numel() * (shard == null ? 1 : shard.ranks().size());
      total += entries;
      trainable += parameter.requires_grad() ? entries : 0;
    }
  }

  long trainable() {
    return trainable;
  }

  long total() {
    return total;
  }

  String line() {
    return String.format(
        Locale.ROOT,
        "trainable params: %,d || all params: %,d || trainable%%: %.4f",
        trainable,
        total,
        total == 0 ? 0 : 100.0 * trainable / total);
  }
}
