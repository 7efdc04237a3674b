package espalier.checkpoints.gguf;

import espalier.checkpoints.gguf.Vocabulary.TokenType;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Model {@code llama}: BPE over characters, as SentencePiece does it, where a space is spelled ▁
 * and a character that the vocabulary lacks becomes its bytes.
 */
final class SentencePieceBpe {

  private static final String SPACE = "▁";

  private SentencePieceBpe() {}

  static TokenizerParts parts(GgufMetadata metadata, Vocabulary read, boolean gemma) {
    boolean prefix = metadata.flag("tokenizer.ggml.add_space_prefix", true);
    Vocabulary vocabulary = gemma ? withSpacesSpelled(read) : read;
    TokenizerParts.Defaults defaults = defaults(vocabulary);
    Map<String, Object> model =
        Json.typed(
            "BPE",
            "dropout",
            null,
            "unk_token",
            unknown(metadata, vocabulary, defaults),
            "continuing_subword_prefix",
            null,
            "end_of_word_suffix",
            null,
            "fuse_unk",
            true,
            "byte_fallback",
            true,
            "ignore_merges",
            false,
            "vocab",
            vocabulary.ids(),
            "merges",
            ScoredMerges.of(metadata, vocabulary, gemma));
    return new TokenizerParts(
        addedTokens(read, vocabulary), normalizer(prefix), null, model, decoder(prefix), defaults);
  }

  private static Map<String, Object> normalizer(boolean prefix) {
    List<Map<String, Object>> steps = new ArrayList<>();
    if (prefix) {
      steps.add(Json.typed("Prepend", "prepend", SPACE));
    }
    steps.add(Json.replace(" ", SPACE));
    return Json.sequence("normalizers", steps);
  }

  private static Map<String, Object> decoder(boolean prefix) {
    List<Map<String, Object>> steps = new ArrayList<>();
    steps.add(Json.replace(SPACE, " "));
    steps.add(Json.typed("ByteFallback"));
    steps.add(Json.typed("Fuse"));
    if (prefix) {
      steps.add(Json.typed("Strip", "content", " ", "start", 1, "stop", 0));
    }
    return Json.sequence("decoders", steps);
  }

  /** The ids that SentencePiece gives these three, where the vocabulary has them there. */
  private static TokenizerParts.Defaults defaults(Vocabulary vocabulary) {
    boolean usual =
        vocabulary.size() > 2
            && vocabulary.types().get(1) == TokenType.CONTROL
            && vocabulary.types().get(2) == TokenType.CONTROL;
    boolean unknown = vocabulary.size() > 0 && vocabulary.types().getFirst() == TokenType.UNKNOWN;
    return new TokenizerParts.Defaults(
        true, usual ? 1L : null, usual ? 2L : null, unknown ? 0L : null);
  }

  private static @Nullable String unknown(
      GgufMetadata metadata, Vocabulary vocabulary, TokenizerParts.Defaults defaults) {
    Long id = SpecialTokens.id(metadata, vocabulary, "unknown", defaults.unk());
    return id == null ? null : vocabulary.tokens().get(id.intValue());
  }

  /**
   * Gemma's files have its runs of spaces as spaces and as tokens to be found whole. In the model's
   * own tokenizer they are spelled with ▁ and come about by merging, as here.
   */
  private static Vocabulary withSpacesSpelled(Vocabulary vocabulary) {
    Map<Integer, String> respelled = new HashMap<>();
    for (int id = 0; id < vocabulary.size(); id++) {
      String token = vocabulary.tokens().get(id);
      if (!token.isEmpty() && token.chars().allMatch(c -> c == ' ')) {
        respelled.put(id, SPACE.repeat(token.length()));
      }
    }
    return vocabulary.respelled(respelled);
  }

  private static List<Map<String, Object>> addedTokens(Vocabulary read, Vocabulary vocabulary) {
    return vocabulary.addedTokens().stream()
        .filter(
            token -> {
              int id = (int) token.getOrDefault("id", 0);
              return read.tokens().get(id).equals(vocabulary.tokens().get(id));
            })
        .toList();
  }
}
