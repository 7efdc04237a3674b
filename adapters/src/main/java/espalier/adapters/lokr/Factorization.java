package espalier.adapters.lokr;

/**
 * A width as a product of two.
 *
 * @param small at most {@code large}, unless a factor was asked for by name
 * @param large the other one
 */
record Factorization(long small, long large) {

  /**
   * The pair whose smaller part is as near to a limit as it can get from below.
   *
   * @param width what is divided
   * @param limit the smaller part itself where it divides the width, else its upper limit; -1 for
   *     the pair nearest to the square root
   */
  static Factorization of(long width, int limit) {
    if (limit > 0 && width % limit == 0) {
      return new Factorization(limit, width / limit);
    }
    long most = limit == -1 ? width : limit;
    long small = 1;
    for (long m = 2; m * m <= width && m <= most; m++) {
      if (width % m == 0) {
        small = m;
      }
    }
    return new Factorization(small, width / small);
  }
}
