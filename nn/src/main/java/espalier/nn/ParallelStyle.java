package espalier.nn;

import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** How a layer is split over ranks, by the names that Transformers' {@code tp_plan} has. */
public enum ParallelStyle {
  /** Split along the outputs: x whole on each rank, y split. */
  COLUMN("colwise", 0),
  /** Split along the outputs, which are put together again: x and y whole on each rank. */
  COLUMN_GATHERED("colwise_gather_output", 0),
  /** Split along the inputs: x split, y summed over the ranks and whole on each. */
  ROW("rowwise", 1),
  /** Split along the inputs, and the layer itself splits x, which each rank has whole. */
  ROW_SPLIT_INPUT("rowwise_split_input", 1),
  /** An embedding split along the vocabulary; rows of other ranks count as zero, and all summed. */
  EMBEDDING_ROW("embedding_rowwise", 0),
  /** An embedding split along its width, which is put together again. */
  EMBEDDING_COLUMN("embedding_colwise", 1),
  /** Not split: each rank has all of it and computes the same. */
  REPLICATED("replicate", -1),
  /** Not split, between layers that are: each rank sees other inputs, so gradients are summed. */
  REPLICATED_SUMMED("replicated_with_grad_allreduce", -1);

  private final String planName;
  private final int weightDimension;

  ParallelStyle(String planName, int weightDimension) {
    this.planName = planName;
    this.weightDimension = weightDimension;
  }

  /** The name in a plan. */
  public String planName() {
    return planName;
  }

  /** Whether each rank has a part of the weight only. */
  public boolean splits() {
    return weightDimension >= 0;
  }

  /** The dimension of the logical weight that is split; only where {@link #splits}. */
  public int weightDimension() {
    return weightDimension;
  }

  /** Whether this style is for embeddings. */
  public boolean ofEmbedding() {
    return this == EMBEDDING_ROW || this == EMBEDDING_COLUMN;
  }

  /**
   * The style of a name in a plan.
   *
   * @throws IllegalArgumentException naming those that are known
   */
  public static ParallelStyle named(String name) {
    @Nullable ParallelStyle found =
        switch (name.toLowerCase(Locale.ROOT)) {
          case "colwise_rep" -> COLUMN_GATHERED;
          case "rowwise_rep" -> ROW_SPLIT_INPUT;
          default ->
              Arrays.stream(values())
                  .filter(style -> style.planName.equals(name))
                  .findFirst()
                  .orElse(null);
        };
    if (found == null) {
      throw new IllegalArgumentException(
          "a layer can not be split %s; known are %s"
              .formatted(name, Arrays.stream(values()).map(ParallelStyle::planName).toList()));
    }
    return found;
  }
}
