package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.block_diag;

import espalier.adapters.ConfigException;
import org.bytedeco.pytorch.Tensor;

/**
 * A block-diagonal matrix [m, n] stored packed, [m, n / blocks]: block i is its i-th m / blocks
 * rows.
 */
final class Blocks {

  private Blocks() {}

  /**
   * x Pᵀ for packed P.
   *
   * @param x [T, n]
   * @param packed [m, n / blocks]
   * @return [T, m]
   */
  static Tensor product(Tensor x, Tensor packed, int blocks) {
    long width = packed.size(1);
    Tensor apart = x.view(x.size(0), blocks, width).transpose(0, 1); // [blocks, T, n / blocks]
    Tensor each = packed.view(blocks, -1, width).transpose(1, 2);
    return apart.bmm(each).transpose(0, 1).reshape(x.size(0), packed.size(0));
  }

  /** The whole matrix [m, n], zero beside the blocks. */
  static Tensor whole(Tensor packed, int blocks) {
    return block_diag(packed.chunk(blocks, 0));
  }

  static void require(long size, String what, int blocks, String path) {
    if (size % blocks != 0) {
      throw new ConfigException(
          "%s has %s %d, which use_bdlora.nblocks %d does not divide; choose a divisor of it"
              .formatted(path, what, size, blocks));
    }
  }
}
