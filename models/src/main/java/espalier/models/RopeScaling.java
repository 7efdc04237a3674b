package espalier.models;

/** How the frequencies of a {@link Rope} are changed to reach further than the pretraining did. */
sealed interface RopeScaling {

  /** As pretrained. */
  record None() implements RopeScaling {}

  /** All positions are divided by {@code factor}. */
  record Linear(double factor) implements RopeScaling {}

  /** The base grows with the length, once a text is longer than the model's positions. */
  record Dynamic(double factor) implements RopeScaling {}

  /** Llama 3.1: long waves are stretched, short ones kept, those between interpolated. */
  record Llama3(double factor, double lowFrequency, double highFrequency, double original)
      implements RopeScaling {}

  /**
   * YaRN.
   *
   * @param attention factor on cos and sin
   * @param fast rotations over {@code original} tokens above which a frequency is kept
   * @param slow rotations below which it is divided by {@code factor}
   * @param truncated whether the borders between are whole dimensions
   * @see <a href="https://arxiv.org/abs/2309.00071">YaRN</a>
   */
  record Yarn(
      double factor, double attention, double fast, double slow, double original, boolean truncated)
      implements RopeScaling {}
}
