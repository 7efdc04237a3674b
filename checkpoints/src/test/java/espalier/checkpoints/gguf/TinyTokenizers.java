package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.List;

/** Files whose only content is a tokenizer. */
final class TinyTokenizers {

  private static final int NORMAL = 1;
  private static final int UNKNOWN = 2;
  private static final int CONTROL = 3;
  private static final int USER_DEFINED = 4;
  private static final int BYTE = 6;

  private TinyTokenizers() {}

  /** Tokens 0 to 13; a text without special tokens needs no other letters than a and b. */
  static TinyGguf byteLevel(String pre) {
    return new TinyGguf()
        .key("general.architecture", "llama")
        .key("tokenizer.ggml.model", "gpt2")
        .key("tokenizer.ggml.pre", pre)
        .key(
            "tokenizer.ggml.tokens",
            List.of(
                "<|end|>", "<think>", "a", "b", "Ġ", "1", "2", "12", "ab", "Ġab", "abab", "Ã", "¤",
                "[PAD13]"))
        .key(
            "tokenizer.ggml.token_type",
            List.of(CONTROL, USER_DEFINED, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5))
        .key("tokenizer.ggml.merges", List.of("a b", "Ġ ab", "1 2"))
        .key("tokenizer.ggml.bos_token_id", 0)
        .key("tokenizer.ggml.eos_token_id", 0)
        .key("tokenizer.ggml.add_bos_token", false);
  }

  /** Tokens 0 to 13, then a token for each byte. */
  static TinyGguf sentencePiece() {
    List<String> tokens =
        new ArrayList<>(
            List.of(
                "<unk>",
                "<s>",
                "</s>",
                "▁",
                "h",
                "e",
                "l",
                "o",
                "he",
                "ll",
                "llo",
                "hello",
                "▁hello",
                "<|user|>"));
    List<Object> scores = new ArrayList<>();
    List<Object> types = new ArrayList<>(List.of(UNKNOWN, CONTROL, CONTROL));
    for (int id = 0; id < tokens.size(); id++) {
      scores.add(id < 8 || id == 13 ? -100f : (float) -id);
      if (id > 2) {
        types.add(id == 13 ? USER_DEFINED : NORMAL);
      }
    }
    for (int value = 0; value < 256; value++) {
      tokens.add("<0x%02X>".formatted(value));
      scores.add(0f);
      types.add(BYTE);
    }
    return new TinyGguf()
        .key("general.architecture", "llama")
        .key("llama.context_length", 2048)
        .key("tokenizer.ggml.model", "llama")
        .key("tokenizer.ggml.tokens", List.copyOf(tokens))
        .key("tokenizer.ggml.scores", List.copyOf(scores))
        .key("tokenizer.ggml.token_type", List.copyOf(types));
  }

  /** The same with what Gemma does otherwise: no space before, and runs of spaces as tokens. */
  static TinyGguf gemma() {
    List<Object> types = new ArrayList<>(List.of(UNKNOWN, CONTROL, CONTROL));
    types.addAll(List.of(USER_DEFINED, USER_DEFINED, 1, 1, 1, 1, 1, 1));
    return new TinyGguf()
        .key("general.architecture", "gemma3")
        .key("tokenizer.ggml.model", "llama")
        .key(
            "tokenizer.ggml.tokens",
            List.of("<unk>", "<s>", "</s>", "  ", "\n\n", "▁", "\n", "h", "i", "▁h", "hi"))
        .key("tokenizer.ggml.scores", List.of(0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f))
        .key("tokenizer.ggml.token_type", List.copyOf(types))
        .key("tokenizer.ggml.add_space_prefix", false);
  }
}
