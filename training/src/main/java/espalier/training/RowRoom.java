package espalier.training;

import java.util.Arrays;

/**
 * The free tokens of each row, as a tree of maxima, so that the first row with room is found in
 * log(rows) steps and a whole data set can be packed at once.
 */
final class RowRoom {

  private final int leaves;
  private final int[] most; // most[i]: the largest room below node i; node 1 is the root

  RowRoom(int rows, int room) {
    leaves = Math.max(1, Integer.highestOneBit(Math.max(0, rows - 1)) << 1);
    most = new int[2 * leaves];
    Arrays.fill(most, room);
  }

  /** Takes {@code length} tokens from the first row that has them, and returns that row. */
  int take(int length) {
    int node = 1;
    while (node < leaves) {
      node = most[2 * node] >= length ? 2 * node : 2 * node + 1;
    }
    most[node] -= length;
    for (int above = node / 2; above >= 1; above /= 2) {
      most[above] = Math.max(most[2 * above], most[2 * above + 1]);
    }
    return node - leaves;
  }
}
