package espalier.adapters.gralora;

import espalier.adapters.ConfigException;
import espalier.nn.Linear;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * A matrix M [out, in] that is a k × k grid of blocks, each with a low-rank factorisation of its
 * own. With I = in/k, O = out/k and q = r/k, the block in row j and column l is
 *
 * <pre>
 *     M[jO:(j+1)O, lI:(l+1)I] = (A[l][:, jq:(j+1)q] · B[j][lq:(l+1)q, :])ᵀ       of rank q
 * </pre>
 *
 * <p>Nothing here is seen by autograd.
 *
 * @param a [k, I, r]: the block of inputs first, then (output block, sub-rank) as the last index
 * @param b [k, r, O]: the block of outputs first, then (input block, sub-rank)
 */
public record BlockGrid(Tensor a, Tensor b) {

  /** Number of blocks a side. */
  public long k() {
    return a.size(0);
  }

  /** Rows of M in one row of blocks. */
  public long blockRows() {
    return b.size(2);
  }

  private long rank() {
    return a.size(2) / k();
  }

  /**
   * Features as blocks.
   *
   * @param x [T, k·n]
   * @return [k, T, n], a view
   */
  public Tensor split(Tensor x) {
    return x.view(x.size(0), k(), x.size(1) / k()).transpose(0, 1);
  }

  /**
   * Exchanges who sent a channel and who receives it. It is its own inverse.
   *
   * @param h [k, T, k·q]
   * @return [k, T, k·q], a copy
   */
  Tensor swap(Tensor h) {
    return h.view(k(), h.size(1), k(), rank())
        .permute(2, 1, 0, 3)
        .reshape(k(), h.size(1), k() * rank());
  }

  /**
   * What reaches the blocks of outputs.
   *
   * @param x [T, in]
   * @return [k, T, r]
   */
  Tensor hidden(Tensor x) {
    return swap(split(x).bmm(a));
  }

  /**
   * Rows of M. They must lie in one row of blocks.
   *
   * @param from the first row
   * @param s a factor
   * @param into [rows, in], overwritten
   */
  public void rows(long from, double s, Tensor into) {
    split(into).baddbmm_(left(from, into.size(0)), right(from), new Scalar(0), new Scalar(s));
  }

  /**
   * Adds to the gradients of the factors what the gradient of some rows of M means for them. The
   * rows must lie in one row of blocks.
   *
   * @param from the first row
   * @param g gradient of the rows [rows, in]
   * @param da gradient of A, added to
   * @param db gradient of B, overwritten where these rows stand
   */
  public void backward(long from, Tensor g, Tensor da, Tensor db) {
    long j = from / blockRows();
    Tensor gradient = split(g); // [l, rows, I]
    db.select(0, j)
        .view(k(), rank(), blockRows())
        .narrow(2, from % blockRows(), g.size(0))
        .baddbmm_(right(from), gradient.transpose(1, 2), new Scalar(0), new Scalar(1));
    da.narrow(2, j * rank(), rank())
        .baddbmm_(gradient.transpose(1, 2), left(from, g.size(0)), new Scalar(1), new Scalar(1));
  }

  /** The factors that the rows have to themselves, one a block: [k, rows, q]. */
  public Tensor left(long from, long rows) {
    return b.select(0, from / blockRows())
        .view(k(), rank(), blockRows())
        .narrow(2, from % blockRows(), rows)
        .transpose(1, 2);
  }

  /** The factors of the columns, for the row of blocks that {@code from} is in: [k, q, I]. */
  public Tensor right(long from) {
    return a.narrow(2, from / blockRows() * rank(), rank()).transpose(1, 2);
  }

  /**
   * The whole matrix.
   *
   * @param s a factor
   * @param into [out, in], overwritten
   */
  public void matrix(double s, Tensor into) {
    for (long from = 0; from < into.size(0); from += blockRows()) {
      rows(from, s, into.narrow(0, from, blockRows()));
    }
  }

  /**
   * Checks that a layer can be cut into blocks.
   *
   * @param field the name of the setting, for the message
   * @throws ConfigException naming the layer, its features, the setting, and settings that would do
   */
  public static void requireDivides(String field, int k, Linear layer, String path) {
    if (layer.in() % k == 0 && layer.out() % k == 0) {
      return;
    }
    List<String> others =
        LongStream.rangeClosed(2, 16)
            .filter(n -> layer.in() % n == 0 && layer.out() % n == 0)
            .mapToObj(Long::toString)
            .collect(Collectors.toList());
    others.addFirst("1");
    throw new ConfigException(
        "%s is [%d, %d] but %s %d needs both divisible by %d; use one of %s, or leave the layer out"
            .formatted(path, layer.out(), layer.in(), field, k, k, String.join(", ", others)));
  }
}
