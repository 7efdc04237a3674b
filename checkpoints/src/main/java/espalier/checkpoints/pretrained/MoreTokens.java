package espalier.checkpoints.pretrained;

import espalier.checkpoints.CheckpointException;
import espalier.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Tokens of one kind that follow each other, and that a tokenizer beside an adapter has more than
 * the model's.
 *
 * @param special whether decoding can leave them out
 */
record MoreTokens(List<String> tokens, boolean special) {

  private static final String FILE = "tokenizer.json";

  /**
   * What the tokenizer in a folder has more, in the order of its ids; nothing if there is none that
   * can be read, or if it is not the model's with further tokens after it.
   *
   * @param model the model's folder or file
   */
  static List<MoreTokens> in(Path folder, @Nullable Tokenizer own, Path model) {
    Path file = folder.resolve(FILE);
    if (own == null || !Files.exists(file) || same(file, model.resolve(FILE))) {
      return List.of();
    }
    try (Tokenizer theirs = Tokenizer.load(folder)) {
      int first = own.vocabularySize();
      if (theirs.vocabularySize() <= first || !extended(own, theirs)) {
        return List.of();
      }
      var runs = new ArrayList<MoreTokens>();
      for (int id = first; id < theirs.vocabularySize(); id++) {
        boolean special = theirs.decode(new int[] {id}, true).isEmpty();
        if (runs.isEmpty() || runs.getLast().special() != special) {
          runs.add(new MoreTokens(new ArrayList<>(), special));
        }
        runs.getLast().tokens().add(theirs.token(id));
      }
      return runs;
    } catch (IllegalArgumentException _) {
      return List.of(); // trainers leave tokenizers of all kinds beside adapters that need none
    }
  }

  /** Most are copies of the model's own; to compare bytes is quicker than to read a vocabulary. */
  private static boolean same(Path file, Path own) {
    try {
      return Files.exists(own) && Files.mismatch(file, own) < 0;
    } catch (IOException e) {
      throw new CheckpointException("%s can not be read: %s".formatted(file, e), e);
    }
  }

  private static boolean extended(Tokenizer own, Tokenizer theirs) {
    for (int id = 0; id < theirs.vocabularySize(); id++) {
      String token = tokenOf(theirs, id);
      boolean same =
          id < own.vocabularySize()
              ? token != null && token.equals(tokenOf(own, id))
              : token != null && own.id(token).isEmpty();
      if (!same && !(token == null && id < own.vocabularySize() && tokenOf(own, id) == null)) {
        return false;
      }
    }
    return true;
  }

  /** Some vocabularies have ids without a token. */
  private static @Nullable String tokenOf(Tokenizer tokenizer, int id) {
    try {
      return tokenizer.token(id);
    } catch (IllegalArgumentException _) {
      return null;
    }
  }
}
