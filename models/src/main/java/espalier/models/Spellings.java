package espalier.models;

import static org.bytedeco.pytorch.global.torch.empty;

import espalier.nn.QuantisedWeight;
import espalier.nn.Scope;
import espalier.nn.Weights;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint under today's names. Older files call a norm's weight gamma, save a model without
 * its head and so without the first part of each name, or hold one matrix per expert.
 *
 * @param prefix first part of the names that a file may lack, such as {@code model}
 * @param experts how many experts to stack, or 0
 */
record Spellings(Weights file, String prefix, int experts) implements Weights {

  private static final List<List<String>> EXPERT_NAMES =
      List.of(List.of("gate_proj", "up_proj", "down_proj"), List.of("w1", "w3", "w2"));

  @Override
  public @Nullable Tensor find(String key) {
    Tensor found = spelled(key);
    if (found == null && key.startsWith(prefix + ".")) {
      found = spelled(key.substring(prefix.length() + 1));
    }
    return found;
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    QuantisedWeight found = file.findQuantised(key);
    return found == null && key.startsWith(prefix + ".")
        ? file.findQuantised(key.substring(prefix.length() + 1))
        : found;
  }

  private @Nullable Tensor spelled(String key) {
    Tensor found = file.find(key);
    if (found == null && key.contains("LayerNorm.")) {
      found =
          file.find(
              key.replace("LayerNorm.weight", "LayerNorm.gamma")
                  .replace("LayerNorm.bias", "LayerNorm.beta"));
    }
    if (found == null && experts > 0) {
      found = withExperts(key);
      if (found == null && key.contains(".mlp.")) {
        String older = key.replace(".mlp.", ".block_sparse_moe.");
        found = file.find(older);
        found = found == null ? withExperts(older) : found;
      }
    }
    return found;
  }

  /** The stacked parameter under {@code key}, made of one matrix per expert. */
  private @Nullable Tensor withExperts(String key) {
    boolean gateUp = key.endsWith(".experts.gate_up_proj");
    if (!gateUp && !key.endsWith(".experts.down_proj")) {
      return null;
    }
    String stem = key.substring(0, key.lastIndexOf('.'));
    for (List<String> names : EXPERT_NAMES) {
      List<String> parts = gateUp ? names.subList(0, 2) : names.subList(2, 3);
      Tensor first = file.find(stem + ".0." + parts.getFirst() + ".weight");
      if (first != null) {
        return stacked(stem, parts, first);
      }
    }
    return null;
  }

  // One matrix at a time into the room for all: a layer of Mixtral is 2.8 GB, and twice that would
  // be needed if all were collected first.
  private Tensor stacked(String stem, List<String> parts, Tensor first) {
    long rows = first.size(0);
    Tensor all =
        empty(new long[] {experts, rows * parts.size(), first.size(1)}, first.options(), null);
    for (int expert = 0; expert < experts; expert++) {
      for (int part = 0; part < parts.size(); part++) {
        String key = stem + "." + expert + "." + parts.get(part) + ".weight";
        try (var _ = Scope.open()) {
          Tensor one = file.get(key);
          if (!Arrays.equals(one.shape(), first.shape())) {
            throw new IllegalArgumentException(
                "%s is %s but the first expert's matrix is %s; all experts have one shape"
                    .formatted(key, Arrays.toString(one.shape()), Arrays.toString(first.shape())));
          }
          all.select(0, expert).narrow(0, part * rows, rows).copy_(one);
        }
      }
    }
    return all;
  }
}
