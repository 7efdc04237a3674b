package espalier.checkpoints.gguf;

import espalier.checkpoints.gguf.Vocabulary.TokenType;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;

/**
 * The merges of a SentencePiece vocabulary, which a file does not list: a token can come about by
 * merging any two tokens that it consists of, and does so the earlier the higher its score.
 */
final class ScoredMerges {

  private static final String SCORES = "tokenizer.ggml.scores";

  /** Of the squares of the tokens' lengths. Real vocabularies come to some 30 million. */
  private static final long MOST_WORK = 1L << 30;

  private record Merge(String left, String right, double score, int leftLength, int rightLength) {}

  private ScoredMerges() {}

  /**
   * The merges, first ones first.
   *
   * @param byPlace whether tokens are merged in the order of their ids, as Gemma's are, whose
   *     scores follow another order
   */
  static List<List<String>> of(GgufMetadata metadata, Vocabulary vocabulary, boolean byPlace) {
    List<Double> scores = byPlace ? List.of() : scores(metadata, vocabulary);
    refuseTooLong(metadata, vocabulary);
    List<Merge> merges = new ArrayList<>();
    for (int id = 0; id < vocabulary.size(); id++) {
      if (canMerge(vocabulary.types().get(id))) {
        addMerges(merges, vocabulary, id, byPlace ? -id : scores.get(id));
      }
    }
    // Highest score first; where it is the same, the longest left part, then the longest right.
    // The sort is stable, so that ids decide in the end.
    merges.sort(
        Comparator.comparingDouble(Merge::score)
            .thenComparingInt(Merge::leftLength)
            .thenComparingInt(Merge::rightLength)
            .reversed());
    return merges.stream().map(merge -> List.of(merge.left, merge.right)).toList();
  }

  private static void addMerges(List<Merge> merges, Vocabulary vocabulary, int id, double score) {
    String token = vocabulary.tokens().get(id);
    Map<String, Integer> ids = vocabulary.ids();
    List<Merge> ways = new ArrayList<>();
    for (int cut = 1; cut < token.length(); cut++) {
      if (Character.isLowSurrogate(token.charAt(cut))) {
        continue; // within a character
      }
      String left = token.substring(0, cut);
      String right = token.substring(cut);
      Integer leftId = ids.get(left);
      Integer rightId = ids.get(right);
      if (leftId != null
          && rightId != null
          && canMerge(vocabulary.types().get(leftId))
          && canMerge(vocabulary.types().get(rightId))) {
        ways.add(new Merge(left, right, score, length(left), length(right)));
      }
    }
    ways.sort(
        Comparator.comparing((Merge way) -> ids.get(way.left))
            .thenComparing(way -> ids.get(way.right)));
    merges.addAll(ways);
  }

  /** Whether such a token is made of text; the others stand for something else. */
  private static boolean canMerge(TokenType type) {
    return switch (type) {
      case NORMAL, USER_DEFINED, UNUSED -> true;
      case CONTROL, UNKNOWN, BYTE -> false;
    };
  }

  private static int length(String text) {
    return text.codePointCount(0, text.length());
  }

  private static List<Double> scores(GgufMetadata metadata, Vocabulary vocabulary) {
    List<Double> scores = metadata.numbers(SCORES);
    if (scores.size() != vocabulary.size()) {
      throw metadata.refused(
          SCORES,
          "has %d entries for %d tokens; convert the model again"
              .formatted(scores.size(), vocabulary.size()));
    }
    return scores;
  }

  private static void refuseTooLong(GgufMetadata metadata, Vocabulary vocabulary) {
    long work = 0;
    for (String token : vocabulary.tokens()) {
      work += (long) token.length() * token.length();
    }
    if (work > MOST_WORK) {
      throw metadata.refused(
          "tokenizer.ggml.tokens",
          "has tokens of %d characters and more, which no vocabulary has; fetch the file again"
              .formatted((long) Math.sqrt((double) work / vocabulary.size())));
    }
  }
}
