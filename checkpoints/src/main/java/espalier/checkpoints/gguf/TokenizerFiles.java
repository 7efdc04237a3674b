package espalier.checkpoints.gguf;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A tokenizer as a model's folder has it.
 *
 * @param tokenizerJson the content of {@code tokenizer.json}
 * @param tokenizerConfig the content of {@code tokenizer_config.json}: the special tokens, {@code
 *     add_bos_token}, {@code add_eos_token} and {@code chat_template}
 */
public record TokenizerFiles(String tokenizerJson, Map<String, Object> tokenizerConfig) {

  public TokenizerFiles {
    tokenizerConfig = Collections.unmodifiableMap(new LinkedHashMap<>(tokenizerConfig));
  }
}
