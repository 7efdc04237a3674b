package espalier.serving;

import espalier.text.Tokenizer;
import espalier.text.TokenizerSettings;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.json.JsonMapper;

/**
 * A byte-level tokenizer of 128 tokens for the tiny models: a token a byte, no merges, so that an
 * emoji is four tokens.
 */
final class TinyTokenizer {

  static final int PAD = 0;
  static final int BOS = 1;
  static final int EOS = 2;

  private static final List<String> SPECIAL = List.of("<pad>", "<s>", "</s>");
  private static final String KNOWN =
      " \n"
          + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"()-+*/=<>_@#%&|~^\\`${}[]";

  private static final byte[] EMOJI = "😀😁😂🙃🚀éü漢字".getBytes(StandardCharsets.UTF_8);

  private static final String TEMPLATE =
      "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
          + "{% if add_generation_prompt %}a:{% endif %}";

  private TinyTokenizer() {}

  static Tokenizer make() {
    return make(TEMPLATE);
  }

  static Tokenizer make(@Nullable String template) {
    Map<String, Integer> vocabulary = new LinkedHashMap<>();
    for (String special : SPECIAL) {
      vocabulary.put(special, vocabulary.size());
    }
    for (byte b : KNOWN.getBytes(StandardCharsets.UTF_8)) {
      vocabulary.putIfAbsent(name(b), vocabulary.size());
    }
    for (byte b : EMOJI) {
      vocabulary.putIfAbsent(name(b), vocabulary.size());
    }
    for (int b = 0; vocabulary.size() < 128; b++) {
      vocabulary.putIfAbsent(name((byte) b), vocabulary.size());
    }
    var added = SPECIAL.stream().map(token -> added(SPECIAL.indexOf(token), token)).toList();
    Map<String, Object> byteLevel =
        Map.of(
            "type",
            "ByteLevel",
            "add_prefix_space",
            false,
            "trim_offsets",
            true,
            "use_regex",
            false);
    var json = new LinkedHashMap<String, Object>();
    json.put("version", "1.0");
    json.put("added_tokens", added);
    json.put("pre_tokenizer", byteLevel);
    json.put("decoder", byteLevel);
    json.put("model", Map.of("type", "BPE", "vocab", vocabulary, "merges", List.of()));
    return Tokenizer.of(
        JsonMapper.shared().writeValueAsString(json),
        TokenizerSettings.defaults()
            .withBosToken("<s>")
            .withEosToken("</s>")
            .withPadToken("<pad>")
            .withChatTemplate(template));
  }

  private static Map<String, Object> added(int id, String token) {
    var fields = new LinkedHashMap<String, Object>();
    fields.put("id", id);
    fields.put("content", token);
    fields.put("special", true);
    for (String no : new String[] {"single_word", "lstrip", "rstrip", "normalized"}) {
      fields.put(no, false);
    }
    return fields;
  }

  /**
   * How byte-level vocabularies write a byte: printable ones as they are, others from U+0100 on.
   */
  private static String name(byte value) {
    int b = value & 0xff;
    int others = 0;
    for (int i = 0; i < 256; i++) {
      boolean plain = (i > 32 && i < 127) || (i > 160 && i != 173);
      if (i == b) {
        return Character.toString(plain ? b : 256 + others);
      }
      others += plain ? 0 : 1;
    }
    throw new AssertionError(value);
  }
}
