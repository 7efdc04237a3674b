package espalier.cli;

import espalier.serving.Sampling;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How the next token is chosen, by the names that users know. */
final class SamplingOptions {

  private static final Pattern NAME =
      Pattern.compile("(?<![\\w-])(temperature|topK|topP|minP|repetitionPenalty|maxNewTokens)\\b");

  @Option(
      names = "--temperature",
      paramLabel = "T",
      description =
          "0 takes the most likely token always (default 0, or 1 with one of the four below)")
  @Nullable Double temperature;

  @Option(
      names = "--top-k",
      paramLabel = "N",
      description = "Draw from the N most likely tokens; 0 for all (default 50)")
  @Nullable Integer topK;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      description = "Draw from the most likely tokens that sum up to P (default 1)")
  @Nullable Double topP;

  @Option(
      names = "--min-p",
      paramLabel = "P",
      description = "Drop tokens less likely than P times the most likely one (default 0)")
  @Nullable Double minP;

  @Option(names = "--seed", paramLabel = "N", description = "Seed of the draw (default 0)")
  @Nullable Long seed;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "X",
      defaultValue = "1",
      description = "More than 1 makes tokens that were there already less likely (default 1)")
  double repetitionPenalty = 1;

  @Option(
      names = "--stop",
      paramLabel = "TEXT",
      description = "Ends an answer before this text; may be given again")
  List<String> stop = new ArrayList<>();

  @Option(
      names = "--max-new-tokens",
      paramLabel = "N",
      defaultValue = "256",
      description = "Tokens of an answer at most (default ${DEFAULT-VALUE})")
  int maxNewTokens = 256;

  /** The settings that the options say. */
  Sampling sampling() {
    boolean draws = topK != null || topP != null || minP != null || seed != null;
    try {
      return sampling(draws);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(spelled(String.valueOf(e.getMessage())), e);
    }
  }

  /** A sentence about settings with the names that the options have. */
  static String spelled(String sentence) {
    return NAME.matcher(sentence).replaceAll(name -> "--" + kebab(name.group()));
  }

  private static String kebab(String name) {
    return name.replaceAll("[A-Z]", "-$0").toLowerCase(Locale.ROOT);
  }

  private Sampling sampling(boolean draws) {
    return new Sampling(
        temperature == null ? draws ? 1 : 0 : temperature,
        topK == null ? 50 : topK,
        topP == null ? 1 : topP,
        minP == null ? 0 : minP,
        repetitionPenalty,
        seed == null ? 0 : seed,
        maxNewTokens,
        0,
        stop);
  }
}
