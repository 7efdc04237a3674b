package espalier.serving;

/** The tokens that the settings leave to draw from, and what each weighs. */
final class Shortlist {

  /** The answer of {@link #draw} where the draw falls on a token beyond those that are known. */
  static final int BEYOND = -1;

  private final int[] ids;
  private final double[] upTo;
  private final double total;

  /**
   * A list in any order.
   *
   * @param ids the tokens; more than {@code upTo} has entries are not looked at
   * @param upTo the sum of the weights up to and with each token
   * @param total the sum of all weights; more than the last of {@code upTo} where tokens that are
   *     not in the list may be drawn too
   */
  Shortlist(int[] ids, double[] upTo, double total) {
    this.ids = ids;
    this.upTo = upTo;
    this.total = total;
  }

  /** How many tokens there are. */
  int size() {
    return upTo.length;
  }

  int id(int index) {
    return ids[index];
  }

  /** The probability of the token at {@code index}, in [0, 1]. */
  double probability(int index) {
    return (upTo[index] - (index == 0 ? 0 : upTo[index - 1])) / total;
  }

  /**
   * The token that a uniform number falls on.
   *
   * @param u in [0, 1)
   * @return its id, or {@link #BEYOND}
   */
  int draw(double u) {
    double place = u * total;
    for (int i = 0; i < upTo.length; i++) {
      if (place < upTo[i]) {
        return ids[i];
      }
    }
    // u < 1, so only rounding can lead here where the list is complete
    return upTo[upTo.length - 1] >= total ? ids[upTo.length - 1] : BEYOND;
  }
}
