package espalier.text;

import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.Set;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Writes further tokens into the text of a {@code tokenizer.json}. */
final class AddedTokens {

  private AddedTokens() {}

  /**
   * The same tokenizer with further tokens, which get the ids after the largest one.
   *
   * @param known what the tokenizer has; tokens in it are passed over
   * @param special whether decoding can leave the tokens out, and no normalizer touches them
   */
  static String in(
      String tokenizerJson, Vocabulary known, Collection<String> tokens, boolean special) {
    Set<String> fresh = new LinkedHashSet<>();
    for (String token : tokens) {
      if (token.isEmpty()) {
        throw new IllegalArgumentException(
            "a token to be added is empty; give the text that it stands for");
      }
      if (known.id(token).isEmpty()) {
        fresh.add(token);
      }
    }
    if (fresh.isEmpty()) {
      return tokenizerJson;
    }
    ObjectNode root = (ObjectNode) JsonMapper.shared().readTree(tokenizerJson);
    var added = root.withArray("added_tokens");
    int id = known.size();
    for (String token : fresh) {
      added
          .addObject()
          .put("id", id++)
          .put("content", token)
          .put("single_word", false)
          .put("lstrip", false)
          .put("rstrip", false)
          .put("normalized", !special)
          .put("special", special);
    }
    return JsonMapper.shared().writeValueAsString(root);
  }
}
