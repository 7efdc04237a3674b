package espalier.text;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * Refuses parts of {@code tokenizer.json} on which the native library would end the process.
 *
 * <p>The library is built so that a failed assertion aborts. What is found here are the assertions
 * that a damaged or careless file meets; a file made to harm may meet others, such as a pattern
 * that takes exponential time.
 */
final class AbortGuard {

  private AbortGuard() {}

  /** Checks a part, such as the normalizer, and the parts inside of it. */
  static void check(String part, JsonNode node) {
    if (node.isObject()) {
      String fault =
          switch (node.path("type").asString("")) {
            case "Precompiled" -> charsMap(node.path("precompiled_charsmap"));
            case "TemplateProcessing" -> template(node);
            case "Strip" ->
                node.path("stop").asInt(0) > 0
                    ? "it strips the end of tokens (stop is not 0)"
                    : null;
            case "FixedLength" ->
                node.path("length").asInt(1) < 1 ? "its pieces have the length 0" : null;
            default -> null;
          };
      if (fault != null) {
        throw new IllegalArgumentException(
            "the %s of the tokenizer's JSON cannot be used: %s; get the file again, or save it anew"
                    .formatted(part, fault)
                + " with transformers");
      }
    }
    for (JsonNode child : node) {
      check(part, child);
    }
  }

  /** A trie after its length in bytes, then UTF-8. */
  private static @Nullable String charsMap(JsonNode map) {
    String fault = "its precompiled_charsmap is damaged";
    try {
      ByteBuffer bytes =
          ByteBuffer.wrap(Base64.getDecoder().decode(map.asString("")))
              .order(ByteOrder.LITTLE_ENDIAN);
      if (bytes.remaining() < Integer.BYTES) {
        return fault;
      }
      int trie = bytes.getInt();
      if (trie < 0 || trie > bytes.remaining()) {
        return fault;
      }
      StandardCharsets.UTF_8.newDecoder().decode(bytes.position(bytes.position() + trie));
      return null;
    } catch (IllegalArgumentException | CharacterCodingException e) {
      return fault;
    }
  }

  private static @Nullable String template(JsonNode node) {
    for (String form : new String[] {"single", "pair"}) {
      for (JsonNode piece : node.path(form)) {
        JsonNode token = piece.path("SpecialToken").path("id");
        if (token.isString() && !node.path("special_tokens").has(token.stringValue())) {
          return "its template puts in %s, which is not among its special_tokens"
              .formatted(token.stringValue());
        }
      }
    }
    return null;
  }
}
