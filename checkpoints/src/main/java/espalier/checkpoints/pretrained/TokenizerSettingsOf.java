package espalier.checkpoints.pretrained;

import espalier.text.TokenizerSettings;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The settings of a tokenizer out of the contents of a {@code tokenizer_config.json}. */
final class TokenizerSettingsOf {

  private static final Set<String> READ =
      Set.of(
          "bos_token",
          "eos_token",
          "pad_token",
          "unk_token",
          "chat_template",
          "add_bos_token",
          "model_max_length");

  private TokenizerSettingsOf() {}

  static TokenizerSettings config(Map<String, Object> config) {
    var other = new LinkedHashMap<>(config);
    other.keySet().removeAll(READ);
    String bos = text(config, "bos_token");
    boolean addBos = Boolean.TRUE.equals(config.get("add_bos_token")) && bos != null;
    Object length = config.get("model_max_length");
    return new TokenizerSettings(
        bos,
        text(config, "eos_token"),
        text(config, "pad_token"),
        text(config, "unk_token"),
        text(config, "chat_template"),
        addBos,
        length instanceof Number n && n.doubleValue() < Integer.MAX_VALUE && n.intValue() > 0
            ? n.intValue()
            : Integer.MAX_VALUE,
        Set.of(),
        Map.of(),
        other);
  }

  private static @Nullable String text(Map<String, Object> config, String key) {
    return config.get(key) instanceof String s ? s : null;
  }
}
