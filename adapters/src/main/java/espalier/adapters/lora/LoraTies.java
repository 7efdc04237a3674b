package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Linear;

/** LoRA on layers that share one weight: one pair of factors for all of them. */
final class LoraTies {

  private LoraTies() {}

  static Adapter follow(
      LoraConfig config, Adapter leader, String leaderPath, Adaptable layer, String path) {
    boolean plain = config.variant() instanceof LoraVariant.Plain;
    if (!plain || !(leader instanceof LoraEmbedding source)) {
      throw new UnsupportedAdapterException(
          "ensure_weight_tying ties %s to %s, for which %s does not exist; leave one of the two out"
              .formatted(path, leaderPath, plain ? leader.typeName() : config.variant().field()));
    }
    if (config.rankAt(path) != config.rankAt(leaderPath)
        || config.scalingAt(path) != config.scalingAt(leaderPath)) {
      throw new ConfigException(
          "%s has rank %d and factor %s but %s, to which ensure_weight_tying ties it, has %d and %s; give both the same in rank_pattern and alpha_pattern"
              .formatted(
                  path,
                  config.rankAt(path),
                  config.scalingAt(path),
                  leaderPath,
                  config.rankAt(leaderPath),
                  config.scalingAt(leaderPath)));
    }
    return switch (layer) {
      case Linear linear when !config.loraBias() -> new TiedHead(config, linear, source);
      case Embedding embedding -> new TiedEmbedding(embedding, source);
      default ->
          throw new UnsupportedAdapterException(
              "%s is a %s%s and can not share the factors of %s; turn ensure_weight_tying off"
                  .formatted(
                      path,
                      layer.typeName(),
                      config.loraBias() ? " with lora_bias" : "",
                      leaderPath));
    };
  }
}
