package espalier.checkpoints.gguf;

import java.util.Map;

/**
 * A file in Hugging Face's terms.
 *
 * @param config what {@code config.json} would say
 * @param sources where each tensor's numbers are, by its name on the hub
 */
record Converted(Map<String, Object> config, Map<String, TensorSource> sources) {}
