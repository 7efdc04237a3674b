package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * BD-LoRA: one of the factors is block-diagonal, so that the devices of a cluster need not talk
 * between A and B. Which one goes by the names in a layer's path.
 *
 * @see <a href="https://arxiv.org/abs/2510.23346">Block-Diagonal LoRA</a>
 */
final class BlockDiagonal {

  private BlockDiagonal() {}

  /** Which factor is in blocks. */
  enum Factor {
    A,
    B,
    NEITHER
  }

  static LoraLinear create(
      LoraConfig config, LoraVariant.Bdlora settings, Linear layer, String path, Init init) {
    return switch (factor(config, settings, path)) {
      case A -> new BlockDiagonalA(config, layer, path, init, settings.blocks());
      case B -> new BlockDiagonalB(config, layer, path, init, settings.blocks());
      case NEITHER -> new LoraLinear(config, layer, path, LoraStart.of(config, layer, path, init));
    };
  }

  /** Which factor is in blocks at a path. */
  static Factor factor(LoraConfig config, LoraVariant.Bdlora settings, String path) {
    boolean inA = names(settings.a(), path);
    boolean inB = names(settings.b(), path);
    if (inA && inB) {
      throw new ConfigException(
          "%s is meant by target_modules_bd_a %s and by target_modules_bd_b %s, but only one factor can be block-diagonal; make the names longer"
              .formatted(path, settings.a(), settings.b()));
    }
    if (inA) {
      return Factor.A;
    }
    if (inB && config.loraBias()) {
      throw new ConfigException(
          "%s has a block-diagonal B, which has no bias; turn lora_bias off".formatted(path));
    }
    if (inB) {
      return Factor.B;
    }
    if (settings.strict()) {
      throw new ConfigException(
          "%s is in neither target_modules_bd_a nor target_modules_bd_b of use_bdlora; name it, or set match_strict to false for plain LoRA there"
              .formatted(path));
    }
    return Factor.NEITHER;
  }

  private static boolean names(@Nullable List<String> parts, String path) {
    return parts != null && parts.stream().anyMatch(path::contains);
  }
}
