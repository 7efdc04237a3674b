package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import java.util.Arrays;

/**
 * How several LoRA adapters become one. A type is made of three choices: on what it works, how it
 * thins out each source first, and whether the sources elect a sign before they are summed.
 *
 * @see <a href="https://arxiv.org/abs/2306.01708">TIES</a>
 * @see <a href="https://arxiv.org/abs/2311.03099">DARE</a>
 */
public enum CombinationType {
  /** Sums of the A's and of the B's: exact for one source, with cross terms for several. */
  LINEAR("linear", Form.FACTORS, Pruning.NONE, false),
  /** Factors side by side: exact, and of the sum of the ranks. */
  CAT("cat", Form.STACK, Pruning.NONE, false),
  /** The sum of the updates, decomposed: exact but for the rank. */
  SVD("svd", Form.UPDATE, Pruning.NONE, false),
  /** TIES on the factors. */
  TIES("ties", Form.FACTORS, Pruning.MAGNITUDE, true),
  /** TIES on the updates, decomposed. */
  TIES_SVD("ties_svd", Form.UPDATE, Pruning.MAGNITUDE, true),
  /** DARE on the factors. */
  DARE_LINEAR("dare_linear", Form.FACTORS, Pruning.RANDOM, false),
  /** DARE on the updates, decomposed. */
  DARE_LINEAR_SVD("dare_linear_svd", Form.UPDATE, Pruning.RANDOM, false),
  /** DARE with elected signs on the factors. */
  DARE_TIES("dare_ties", Form.FACTORS, Pruning.RANDOM, true),
  /** DARE with elected signs on the updates, decomposed. */
  DARE_TIES_SVD("dare_ties_svd", Form.UPDATE, Pruning.RANDOM, true),
  /** Sums of the factors without their smallest entries. */
  MAGNITUDE_PRUNE("magnitude_prune", Form.FACTORS, Pruning.MAGNITUDE, false),
  /** Sums of the updates without their smallest entries, decomposed. */
  MAGNITUDE_PRUNE_SVD("magnitude_prune_svd", Form.UPDATE, Pruning.MAGNITUDE, false);

  /** What a type works on. */
  enum Form {
    /** A and B, each by itself. */
    FACTORS,
    /** B·A, decomposed afterwards. */
    UPDATE,
    /** A and B, put side by side. */
    STACK
  }

  /** What is taken out of each source before they are summed. */
  enum Pruning {
    NONE,
    /** All but the largest entries. */
    MAGNITUDE,
    /** Entries at random, the rest scaled up for it. */
    RANDOM
  }

  private final String word;
  private final Form form;
  private final Pruning pruning;
  private final boolean elects;

  CombinationType(String word, Form form, Pruning pruning, boolean elects) {
    this.word = word;
    this.form = form;
    this.pruning = pruning;
    this.elects = elects;
  }

  /** The type of this name, such as {@code ties_svd}. */
  public static CombinationType of(String word) {
    return Arrays.stream(values())
        .filter(type -> type.word.equals(word))
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "combination_type is %s but %s are known; svd is the default"
                        .formatted(word, Arrays.toString(words()))));
  }

  /** The names of all types, in their order. */
  public static String[] words() {
    return Arrays.stream(values()).map(CombinationType::word).toArray(String[]::new);
  }

  /** The name, such as {@code ties_svd}. */
  public String word() {
    return word;
  }

  Form form() {
    return form;
  }

  Pruning pruning() {
    return pruning;
  }

  /** Whether a position is only summed over the sources that agree with its elected sign. */
  boolean elects() {
    return elects;
  }
}
