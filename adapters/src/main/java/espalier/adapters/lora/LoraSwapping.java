package espalier.adapters.lora;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigException;
import espalier.adapters.Swapping;
import espalier.adapters.Targets;
import espalier.nn.Adapter;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** LoRA taking over the factors of another LoRA, whose rank and alpha may differ. */
final class LoraSwapping implements Swapping {

  private final LoraConfig next;

  private LoraSwapping(LoraConfig next) {
    this.next = next;
  }

  static LoraSwapping of(LoraConfig present, AdapterConfig other) {
    if (!(other instanceof LoraConfig next)) {
      throw new ConfigException(
          "peft_type: LORA != %s; only an adapter of LoRA can take the place of one"
              .formatted(other.peftType()));
    }
    agree("use_rslora", present.rslora(), next.rslora());
    agree("lora_dropout", present.dropout(), next.dropout());
    agree("alpha_pattern", present.alphaPattern(), next.alphaPattern());
    agree("variant", present.variant(), next.variant());
    agree("lora_bias", present.loraBias(), next.loraBias());
    agree("bias", present.bias(), next.bias());
    agree("trainable_token_indices", present.tokens(), next.tokens());
    agree("ensure_weight_tying", present.ensureWeightTying(), next.ensureWeightTying());
    agree("layer_replication", present.layerReplication(), next.layerReplication());
    return new LoraSwapping(next);
  }

  private static void agree(String field, @Nullable Object before, @Nullable Object now) {
    if (!Objects.equals(before, now)) {
      throw new ConfigException(
          "%s: %s != %s; adapters that are swapped in place must agree on it, load the other under a name of its own"
              .formatted(field, before, now));
    }
  }

  @Override
  public @Nullable Tensor fitted(Adapter adapter, String name, Tensor saved) {
    Tensor own = Objects.requireNonNull(adapter.state().get(name));
    var axis = RankAxis.of(adapter, name);
    if (axis == null || !axis.divides(saved)) {
      return java.util.Arrays.equals(own.shape(), saved.shape()) ? saved : null;
    }
    if (!axis.alike(own, saved)) {
      return null;
    }
    long rank = axis.size(own);
    return axis.size(saved) > rank ? saved : axis.padded(saved, rank);
  }

  @Override
  public Tensor widened(Adapter adapter, String path, String name, int rank) {
    Tensor own = Objects.requireNonNull(adapter.state().get(name));
    var axis = RankAxis.of(adapter, name);
    if (axis == null) {
      return own;
    }
    if (rank % axis.groups() != 0) {
      throw new ConfigException(
          "%s has %d groups but the rank to prepare for is %d; choose one divisible by %d"
              .formatted(path, axis.groups(), rank, axis.groups()));
    }
    long size = rank / axis.groups();
    if (axis.size(own) > size) {
      throw new ConfigException(
          "%s has rank %d already, which is more than the rank %d to prepare for; choose the highest rank of all adapters"
              .formatted(path, axis.size(own) * axis.groups(), rank));
    }
    return axis.padded(own, size);
  }

  @Override
  public void retune(Adapter adapter, String path) {
    switch (adapter) {
      case LoraAttention lora -> lora.rescale(next);
      case LoraLinear lora -> lora.rescale(next.scalingAt(path));
      case LoraEmbedding lora -> lora.rescale(next.scalingAt(path));
      case LoraConvolution lora -> lora.rescale(next.scalingAt(path));
      case LoraExperts lora -> lora.rescale(next.scalingAt(path));
      default -> {} // one that follows has the factor of its leader
    }
  }

  @Override
  public LoraConfig settled(Map<String, Adapter> adapters, Targets targets) {
    var ranks = new LinkedHashMap<String, Integer>();
    var alphas = new LinkedHashMap<String, Double>();
    boolean same = true;
    for (var entry : adapters.entrySet()) {
      Integer rank = RankAxis.rank(entry.getValue());
      if (rank != null) {
        String path = entry.getKey();
        ranks.put(path, rank);
        alphas.put(path, next.scalingAt(path) * (next.rslora() ? Math.sqrt(rank) : rank));
        same = same && rank == next.rankAt(path);
      }
    }
    LoraConfig config = next.withTargets(targets);
    if (same || ranks.isEmpty()) {
      return config;
    }
    int r = ranks.values().iterator().next();
    double alpha = alphas.values().iterator().next();
    boolean oneRank = new LinkedHashSet<>(ranks.values()).size() == 1;
    boolean oneAlpha = new LinkedHashSet<>(alphas.values()).size() == 1;
    return config.toBuilder()
        .r(r)
        .alpha(alpha)
        .rankPattern(oneRank ? Map.of() : byPath(ranks))
        .alphaPattern(oneAlpha ? Map.of() : byPath(alphas))
        .build();
  }

  private static <V> Map<String, V> byPath(Map<String, V> values) {
    var patterns = new LinkedHashMap<String, V>();
    values.forEach(
        (path, value) ->
            patterns.put("^" + path.replaceAll("\\.", Matcher.quoteReplacement("\\.")), value));
    return patterns;
  }
}
