package espalier.text;

import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads the vocabulary out of {@code tokenizer.json}, and has the rest of it checked.
 *
 * <p>As a stream: these files have up to 33 MB and half a million merges, which nobody here needs.
 */
final class VocabularyReader {

  private final JsonParser json;
  private final Vocabulary.Builder tokens = new Vocabulary.Builder();
  private boolean hasVocabulary;

  private VocabularyReader(JsonParser json) {
    this.json = json;
  }

  static Vocabulary read(String tokenizerJson) {
    try (JsonParser json = JsonMapper.shared().createParser(tokenizerJson)) {
      VocabularyReader reader = new VocabularyReader(json);
      reader.file();
      if (!reader.hasVocabulary) {
        throw new IllegalArgumentException(
            "the tokenizer's JSON has no model.vocab but one is expected, an object of ids or a"
                + " list of pieces; give the text of a tokenizer.json");
      }
      return reader.tokens.build();
    } catch (JacksonException e) {
      throw new IllegalArgumentException(
          "the tokenizer is not JSON (%s); expected the text of a tokenizer.json"
              .formatted(e.getOriginalMessage()),
          e);
    }
  }

  private void file() {
    if (json.nextToken() != JsonToken.START_OBJECT) {
      return;
    }
    for (String name = json.nextName(); name != null; name = json.nextName()) {
      json.nextToken();
      switch (name) {
        case "added_tokens" -> addedTokens();
        case "model" -> model();
        case "normalizer", "pre_tokenizer", "post_processor", "decoder" ->
            AbortGuard.check(name, json.readValueAsTree());
        default -> json.skipChildren();
      }
    }
  }

  private void model() {
    if (json.currentToken() != JsonToken.START_OBJECT) {
      return;
    }
    for (String name = json.nextName(); name != null; name = json.nextName()) {
      JsonToken value = json.nextToken();
      if (name.equals("vocab") && value == JsonToken.START_OBJECT) {
        hasVocabulary = true;
        ids();
      } else if (name.equals("vocab") && value == JsonToken.START_ARRAY) {
        hasVocabulary = true;
        pieces();
      } else {
        json.skipChildren();
      }
    }
  }

  /** BPE, WordPiece and WordLevel: {token: id}. */
  private void ids() {
    for (String token = json.nextName(); token != null; token = json.nextName()) {
      json.nextToken();
      tokens.add(token, id());
    }
  }

  /** Unigram: [[token, score]], in the order of the ids. */
  private void pieces() {
    for (int id = 0; json.nextToken() == JsonToken.START_ARRAY; id++) {
      if (json.nextToken() == JsonToken.VALUE_STRING) {
        tokens.add(json.getString(), id);
      }
      while (json.currentToken() != null && json.currentToken() != JsonToken.END_ARRAY) {
        json.skipChildren();
        json.nextToken();
      }
    }
  }

  private void addedTokens() {
    if (json.currentToken() != JsonToken.START_ARRAY) {
      json.skipChildren();
      return;
    }
    while (json.nextToken() == JsonToken.START_OBJECT) {
      String token = "";
      long id = -1;
      boolean special = false;
      for (String name = json.nextName(); name != null; name = json.nextName()) {
        json.nextToken();
        switch (name) {
          case "content" -> token = json.getString();
          case "id" -> id = id();
          case "special" -> special = json.currentToken() == JsonToken.VALUE_TRUE;
          default -> json.skipChildren();
        }
      }
      tokens.add(token, id, special);
    }
  }

  /** A number that is no id becomes -1, which is refused with its token's name. */
  private long id() {
    if (json.currentToken() == JsonToken.VALUE_NUMBER_INT) {
      return json.getNumberType() == JsonParser.NumberType.INT ? json.getIntValue() : -1;
    }
    json.skipChildren();
    return -1;
  }
}
