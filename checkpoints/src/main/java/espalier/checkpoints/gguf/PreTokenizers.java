package espalier.checkpoints.gguf;

import espalier.checkpoints.gguf.PreTokenizer.Cut;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * The pre-tokenizers by the names that files give them. Each expression is the one in the named
 * model's own {@code tokenizer.json}; the reference runtime documents them in {@code
 * llama-vocab.cpp}, which also says which of them take whole words and add a BOS token.
 */
final class PreTokenizers {

  static final String GPT2_REGEX =
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

  private static final String CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  private static final String LETTERS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
  private static final String SIGNS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
  private static final String SIGNS_AND_SLASHES = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*";
  private static final String SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  private static final String LLAMA3 =
      String.join("|", CONTRACTIONS, LETTERS, "\\p{N}{1,3}", SIGNS, SPACES);
  private static final String QWEN2 =
      String.join("|", CONTRACTIONS, LETTERS, "\\p{N}", SIGNS, SPACES);
  private static final String QWEN35 =
      String.join(
          "|",
          CONTRACTIONS,
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+",
          "\\p{N}",
          " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*",
          SPACES);

  // words that change from capitals to small letters are cut before the last capital
  private static final String CAPITALS = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  private static final String SMALL = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  private static final String SMALL_WORD = "[^\\r\\n\\p{L}\\p{N}]?" + CAPITALS + "*" + SMALL + "+";
  private static final String CAPITAL_WORD =
      "[^\\r\\n\\p{L}\\p{N}]?" + CAPITALS + "+" + SMALL + "*";

  private static final String TEKKEN =
      String.join("|", SMALL_WORD, CAPITAL_WORD, "\\p{N}", SIGNS_AND_SLASHES, SPACES);
  private static final String GPT4O =
      String.join(
          "|",
          SMALL_WORD + CONTRACTIONS + "?",
          CAPITAL_WORD + CONTRACTIONS + "?",
          "\\p{N}{1,3}",
          SIGNS_AND_SLASHES,
          SPACES);

  private static final String DEEPSEEK3 =
      String.join(
          "|",
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+",
          "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
          " ?[\\p{P}\\p{S}]+[\\r\\n]*",
          SPACES);

  private static final Map<String, PreTokenizer> KNOWN = new TreeMap<>();

  static {
    var gpt2 = new PreTokenizer(new Cut.Gpt2());
    put(gpt2, "gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "mellum", "gigachat");
    put(gpt2, "a.x-4.0", "granite-docling");

    var digits = new PreTokenizer(new Cut.Digits(), new Cut.Gpt2());
    put(digits, "smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2");
    put(digits.withNfc(), "command-r");

    var llama3 = matches(LLAMA3);
    put(llama3.withWholeWords().withBos(), "llama3", "llama-v3", "llama-bpe", "falcon3");
    put(llama3.withWholeWords().withBos(), "falcon-h1", "pixtral", "midm-2.0", "lfm2");
    put(llama3, "dbrx", "smaug-bpe", "glm4", "chatglm-bpe");

    put(matches(QWEN2).withNfc(), "qwen2");
    put(matches(QWEN2), "stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan");
    put(matches(QWEN2), "grok-2", "solar-open");
    put(matches(QWEN35).withNfc(), "qwen35");

    put(matches(TEKKEN).withWholeWords().withBos(), "tekken");
    put(matches(GPT4O), "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2");

    put(
        matches("[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"),
        "deepseek-coder");
    put(
        matches("\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3),
        "deepseek-v3",
        "hunyuan-dense",
        "joyai-llm");
    put(matches("[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_REGEX, "[0-9][0-9][0-9]"), "falcon");
    put(matches("[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_REGEX, "\\p{N}+", "[0-9][0-9][0-9]"), "default");
  }

  private PreTokenizers() {}

  static Optional<PreTokenizer> find(String name) {
    return Optional.ofNullable(KNOWN.get(name));
  }

  /** All names, for a message. */
  static String names() {
    return String.join(", ", KNOWN.keySet());
  }

  private static PreTokenizer matches(String... regexes) {
    Cut[] cuts = new Cut[regexes.length];
    for (int i = 0; i < regexes.length; i++) {
      cuts[i] = new Cut.Matches(regexes[i]);
    }
    return new PreTokenizer(cuts);
  }

  private static void put(PreTokenizer preTokenizer, String... names) {
    for (String name : names) {
      KNOWN.put(name, preTokenizer);
    }
  }
}
