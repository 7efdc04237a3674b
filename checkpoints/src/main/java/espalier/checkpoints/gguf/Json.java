package espalier.checkpoints.gguf;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The small JSON objects that a {@code tokenizer.json} is made of. */
final class Json {

  private Json() {}

  /** An object of that type, with names and values in turn. */
  static Map<String, Object> typed(String type, @Nullable Object... fields) {
    Map<String, @Nullable Object> object = new LinkedHashMap<>();
    object.put("type", type);
    for (int i = 0; i < fields.length; i += 2) {
      object.put(String.valueOf(fields[i]), fields[i + 1]);
    }
    return Collections.unmodifiableMap(object);
  }

  /** Several steps as one, under the name that their list has. */
  static Map<String, Object> sequence(String listName, List<Map<String, Object>> steps) {
    return steps.size() == 1 ? steps.getFirst() : typed("Sequence", listName, steps);
  }

  /** A step that replaces a text by another. */
  static Map<String, Object> replace(String text, String by) {
    return typed("Replace", "pattern", Map.of("String", text), "content", by);
  }

  /** A token that is found whole in a text. */
  static Map<String, Object> addedToken(int id, String content, boolean special) {
    Map<String, Object> token = new LinkedHashMap<>();
    token.put("id", id);
    token.put("content", content);
    token.put("single_word", false);
    token.put("lstrip", false);
    token.put("rstrip", false);
    token.put("normalized", false);
    token.put("special", special);
    return token;
  }
}
