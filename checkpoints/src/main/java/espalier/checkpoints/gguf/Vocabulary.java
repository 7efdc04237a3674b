package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The tokens of a file.
 *
 * @param tokens texts by id, each once
 * @param types of the tokens by id
 * @param ids of the tokens by text
 */
record Vocabulary(List<String> tokens, List<TokenType> types, Map<String, Integer> ids) {

  private static final String TOKENS = "tokenizer.ggml.tokens";
  private static final String TYPES = "tokenizer.ggml.token_type";

  /** What a token is, numbered as in a file from 1 on. */
  enum TokenType {
    NORMAL,
    UNKNOWN,
    CONTROL,
    USER_DEFINED,
    UNUSED,
    BYTE;

    /** Whether it is found whole in a text. */
    boolean added() {
      return this == CONTROL || this == USER_DEFINED || this == UNKNOWN;
    }
  }

  static Vocabulary read(GgufMetadata metadata) {
    List<String> read = metadata.strings(TOKENS);
    List<TokenType> types = types(metadata, read.size());
    List<String> tokens = new ArrayList<>(read.size());
    Map<String, Integer> ids = LinkedHashMap.newLinkedHashMap(read.size());
    for (int id = 0; id < read.size(); id++) {
      // A few files have tokens without text. A vocabulary has each text once, so they get names.
      String token = read.get(id).isEmpty() ? "[EMPTY_%d]".formatted(id) : read.get(id);
      Integer other = ids.put(token, id);
      if (other != null) {
        throw metadata.refused(
            TOKENS,
            "has \"%s\" twice, as token %d and %d; convert the model again"
                .formatted(token, other, id));
      }
      tokens.add(token);
    }
    return new Vocabulary(tokens, types, ids);
  }

  int size() {
    return tokens.size();
  }

  /** The same tokens, those that {@code texts} names by their id with another text. */
  Vocabulary respelled(Map<Integer, String> texts) {
    List<String> respelled = new ArrayList<>(tokens);
    texts.forEach(respelled::set);
    Map<String, Integer> byText = LinkedHashMap.newLinkedHashMap(size());
    for (int id = 0; id < respelled.size(); id++) {
      byText.putIfAbsent(respelled.get(id), id);
    }
    return new Vocabulary(respelled, types, byText);
  }

  /** The tokens that are found whole in a text, as {@code added_tokens} lists them. */
  List<Map<String, Object>> addedTokens() {
    List<Map<String, Object>> added = new ArrayList<>();
    for (int id = 0; id < tokens.size(); id++) {
      if (types.get(id).added()) {
        added.add(Json.addedToken(id, tokens.get(id), types.get(id) != TokenType.USER_DEFINED));
      }
    }
    return added;
  }

  private static List<TokenType> types(GgufMetadata metadata, int count) {
    if (!metadata.has(TYPES)) {
      return Collections.nCopies(count, TokenType.NORMAL);
    }
    List<Long> numbers = metadata.integers(TYPES);
    if (numbers.size() != count) {
      throw metadata.refused(
          TYPES,
          "has %d entries for %d tokens; convert the model again".formatted(numbers.size(), count));
    }
    TokenType[] all = TokenType.values();
    return numbers.stream()
        .map(
            number -> {
              if (number < 1 || number > all.length) {
                throw metadata.refused(
                    TYPES,
                    "holds %d, but token types are 1 to %d; convert the model again"
                        .formatted(number, all.length));
              }
              return all[(int) (number - 1)];
            })
        .toList();
  }
}
