package espalier.adapters.lora;

import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * Settings of another training library, kept for the round trip.
 *
 * @param config its own config, or null
 * @param core its module
 */
public record Megatron(@Nullable JsonNode config, String core) {

  /** Nothing set. */
  public static Megatron none() {
    return new Megatron(null, "megatron.core");
  }
}
