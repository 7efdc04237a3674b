package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A weight whose codes stand row after row in blocks of a fixed number of values, which may reach
 * over the end of a row. It is decoded in parts that stay in the processor's cache.
 */
abstract class BlockedWeight implements QuantisedWeight {

  /** Values that are quantised at once. */
  static final long PART = 1 << 20;

  /** Values that are decoded at once: 256 kB in float32, which the second-level cache holds. */
  private static final long PANEL = 1 << 16;

  private final long out;
  private final long in;
  private final ScalarType dtype;
  private final long block;

  BlockedWeight(long out, long in, ScalarType dtype, long block) {
    this.out = out;
    this.in = in;
    this.dtype = dtype;
    this.block = block;
  }

  static void requireMatrix(Tensor weight) {
    if (weight.dim() != 2) {
      throw new IllegalArgumentException(
          "a quantised weight is a matrix but this tensor has %d dimensions; leave it as it is"
              .formatted(weight.dim()));
    }
  }

  @Override
  public final long out() {
    return out;
  }

  @Override
  public final long in() {
    return in;
  }

  @Override
  public final ScalarType dtype() {
    return dtype;
  }

  @Override
  public boolean writable() {
    return true;
  }

  @Override
  public final Tensor rows(long from, long length, ScalarType type) {
    Tensor rows =
        torch.empty(
            new long[] {length, in},
            new TensorOptions(type.intern()).device(new DeviceOptional(stored().device())),
            new MemoryFormatOptional());
    decode(from, rows);
    return rows;
  }

  /** The codes. */
  abstract Tensor stored();

  @Override
  public final Object identity() {
    return stored().data_ptr().address();
  }

  @Override
  public final void decode(long from, Tensor to) {
    Tensor flat = to.view(-1);
    long begin = from * in;
    long end = begin + flat.numel();
    for (long at = begin; at < end; ) {
      // Up to the start of a block, and from there on by whole blocks.
      long stop = Math.min(end, (at / block + Math.max(1, PANEL / block)) * block);
      try (var _ = new PointerScope()) {
        part(at, flat.narrow(0, at - begin, stop - at));
      }
      at = stop;
    }
  }

  private void part(long at, Tensor to) {
    long before = at % block;
    if (before == 0) {
      decodeBlocks(at, to);
      return;
    }
    Tensor whole = to.new_empty(before + to.numel());
    decodeBlocks(at - before, whole);
    to.copy_(whole.narrow(0, before, to.numel()));
  }

  /**
   * Decodes values in their order.
   *
   * @param from the first one, which begins a block
   * @param to [values], written to
   */
  abstract void decodeBlocks(long from, Tensor to);

  /** Multiplies values [n] by the factors of their blocks, the last of which may be short. */
  static void scale(Tensor values, Tensor factors, long block, Tensor to) {
    long n = values.numel();
    long whole = n / block * block;
    if (whole > 0) {
      Tensor blocks = values.narrow(0, 0, whole).view(-1, block);
      blocks.mul_(factors.narrow(0, 0, whole / block).unsqueeze(1));
    }
    if (whole < n) {
      values.narrow(0, whole, n - whole).mul_(factors.narrow(0, whole / block, 1));
    }
    to.copy_(values);
  }
}
