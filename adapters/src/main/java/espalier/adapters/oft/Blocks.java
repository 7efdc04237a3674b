package espalier.adapters.oft;

/**
 * How a width is divided.
 *
 * @param count number of blocks
 * @param size features of each
 */
record Blocks(long count, long size) {

  /** The divisor of a width that is nearest to a wish, the smaller one of two. */
  static long nearestDivisor(long width, long wish) {
    if (wish >= width) {
      return width;
    }
    for (long away = 0; ; away++) {
      if (wish - away >= 1 && width % (wish - away) == 0) {
        return wish - away;
      }
      if (wish + away <= width && width % (wish + away) == 0) {
        return wish + away;
      }
    }
  }

  /** Angles of one block: the entries above the diagonal. */
  long angles() {
    return size * (size - 1) / 2;
  }
}
