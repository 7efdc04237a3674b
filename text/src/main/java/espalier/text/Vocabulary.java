package espalier.text;

import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/** Which token has which id, and which are special; the native tokenizer does not tell. */
final class Vocabulary {

  private final Map<String, Integer> idOf;
  private final @Nullable String[] tokenOf;
  private final BitSet special;

  private Vocabulary(Map<String, Integer> idOf, @Nullable String[] tokenOf, BitSet special) {
    this.idOf = idOf;
    this.tokenOf = tokenOf;
    this.special = special;
  }

  /** One more than the largest id: the rows that an embedding of this vocabulary needs. */
  int size() {
    return tokenOf.length;
  }

  OptionalInt id(@Nullable String token) {
    Integer id = token == null ? null : idOf.get(token);
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
  }

  String token(int id) {
    String token = id < 0 || id >= tokenOf.length ? null : tokenOf[id];
    if (token == null) {
      throw new IllegalArgumentException(
          "id %d has no token; the vocabulary has ids from 0 to %d".formatted(id, size() - 1)
              + (id >= 0 && id < tokenOf.length ? " with gaps" : ""));
    }
    return token;
  }

  /** Whether decoding may leave the token out. */
  boolean isSpecial(int id) {
    return id >= 0 && special.get(id);
  }

  /** Collects the tokens. */
  static final class Builder {

    private static final int LARGEST = 100_000_000; // an array of this length is made

    private final Map<String, Integer> idOf = new HashMap<>();
    private final BitSet special = new BitSet();
    private int size;

    void add(String token, long id) {
      if (id < 0 || id > LARGEST) {
        throw new IllegalArgumentException(
            "token %s of the tokenizer's JSON has id %d but an id is a whole number from 0 to %d"
                .formatted(token, id, LARGEST));
      }
      idOf.put(token, (int) id);
      size = Math.max(size, (int) id + 1);
    }

    void add(String token, long id, boolean isSpecial) {
      add(token, id);
      special.set((int) id, isSpecial);
    }

    Vocabulary build() {
      String[] tokenOf = new String[size];
      idOf.forEach((token, id) -> tokenOf[id] = token);
      return new Vocabulary(idOf, tokenOf, special);
    }
  }
}
