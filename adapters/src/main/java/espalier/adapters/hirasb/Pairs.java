package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.tensor;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The distinct products of r numbers, p = r(r + 1)/2 of them: symmetric r × r matrices at half the
 * work.
 *
 * @param left the first index of each product [p]
 * @param right the second one [p]
 * @param places for each entry of the r × r matrix, row by row, its product [r²]
 */
record Pairs(Tensor left, Tensor right, Tensor places) {

  static Pairs of(long rank, Tensor like) {
    int r = Math.toIntExact(rank);
    long[] left = new long[r * (r + 1) / 2];
    long[] right = new long[left.length];
    long[] places = new long[r * r];
    int next = 0;
    for (int k = 0; k < r; k++) {
      for (int l = k; l < r; l++) {
        left[next] = k;
        right[next] = l;
        places[k * r + l] = next;
        places[l * r + k] = next++;
      }
    }
    return new Pairs(on(like, left), on(like, right), on(like, places));
  }

  private static Tensor on(Tensor like, long[] indices) {
    return tensor(indices).to(like.device(), ScalarType.Long);
  }

  /** Of each row of c [n, r] the products [n, p]. */
  Tensor products(Tensor c) {
    return c.index_select(1, left).mul_(c.index_select(1, right));
  }

  /** Widens one dimension from the p products to the r² entries. */
  Tensor square(Tensor products, long dimension) {
    return products.index_select(dimension, places);
  }
}
