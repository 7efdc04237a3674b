package espalier.nn;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A weight in memory that is read and written entry by entry, without a call of the library: for a
 * few entries of each of many layers its calls cost more than the entries. Every access is checked
 * against the size of its tensor.
 */
final class EntryMemory {

  // The tensors of a mapped file may begin anywhere.
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

  // float32 by its bits
  private static final int MAGNITUDE = 0x7FFF_FFFF;
  private static final int INFINITE = 0x7F80_0000;
  private static final int NOT_A_NUMBER = 0x7FC0_0000;

  private final MemorySegment weight;
  private final boolean half; // bfloat16
  private final long size;
  private final Part[] leaving;
  private final Part[] coming;

  /** The memory of a patch. */
  private record Part(
      Patch patch,
      int count,
      boolean held,
      float factor,
      MemorySegment positions,
      MemorySegment values,
      MemorySegment before) {

    /** The first entry that does not stand above a position. */
    int firstFrom(long position) {
      int low = 0;
      int high = count;
      while (low < high) {
        int middle = (low + high) >>> 1;
        if (positions.get(INT, 4L * middle) < position) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      return low;
    }
  }

  private EntryMemory(
      MemorySegment weight, boolean half, long size, Part[] leaving, Part[] coming) {
    this.weight = weight;
    this.half = half;
    this.size = size;
    this.leaving = leaving;
    this.coming = coming;
  }

  /**
   * The memory of a weight and of its patches, or null where the library must do it: on a device,
   * where entries do not lie side by side, and for dtypes other than float32 and bfloat16.
   */
  static @Nullable EntryMemory of(Tensor weight, List<Patch> leaving, List<Patch> coming) {
    ScalarType dtype = weight.scalar_type().intern();
    boolean half = dtype == ScalarType.BFloat16;
    if (!(half || dtype == ScalarType.Float) || !plain(weight)) {
      return null;
    }
    Part[] out = parts(leaving, half);
    Part[] in = parts(coming, half);
    if (out == null || in == null) {
      return null;
    }
    long size = weight.numel();
    return new EntryMemory(segment(weight, size * bytes(half)), half, size, out, in);
  }

  private static Part @Nullable [] parts(List<Patch> patches, boolean half) {
    var parts = new Part[patches.size()];
    for (int i = 0; i < parts.length; i++) {
      Patch patch = patches.get(i);
      Entries entries = patch.entries();
      if (!is(entries.positions(), ScalarType.Int) || !is(entries.values(), ScalarType.Float)) {
        return null;
      }
      int count = Math.toIntExact(entries.positions().numel());
      parts[i] =
          new Part(
              patch,
              count,
              patch.held(),
              (float) entries.factor(),
              segment(entries.positions(), 4L * count),
              segment(entries.values(), 4L * count),
              segment(patch.before(), count * bytes(half)));
    }
    return parts;
  }

  private static boolean is(Tensor tensor, ScalarType dtype) {
    return tensor.scalar_type().intern() == dtype && plain(tensor);
  }

  private static boolean plain(Tensor tensor) {
    return tensor.is_cpu() && tensor.is_contiguous();
  }

  private static long bytes(boolean half) {
    return half ? 2 : 4;
  }

  @SuppressWarnings("restricted")
  private static MemorySegment segment(Tensor tensor, long bytes) {
    return MemorySegment.ofAddress(tensor.data_ptr().address()).reinterpret(bytes);
  }

  /** Entries of the weight. */
  long size() {
    return size;
  }

  /** Entries of all patches. */
  long entries() {
    long sum = 0;
    for (Part part : leaving) {
      sum += part.count;
    }
    for (Part part : coming) {
      sum += part.count;
    }
    return sum;
  }

  /** Exchanges the patches in a part of the weight. */
  void exchange(long from, long to) {
    for (Part part : leaving) {
      int first = part.firstFrom(from);
      int end = part.firstFrom(to);
      if (half) {
        restoreShorts(weight, part.positions, part.before, first, end);
      } else {
        restoreInts(weight, part.positions, part.before, first, end);
      }
    }
    for (Part part : coming) {
      int first = part.firstFrom(from);
      int end = part.firstFrom(to);
      if (!part.held) {
        if (half) {
          keepShorts(weight, part.positions, part.before, first, end);
        } else {
          keepInts(weight, part.positions, part.before, first, end);
        }
      }
      boolean finite =
          half
              ? writeShorts(
                  weight, part.positions, part.before, part.values, part.factor, first, end)
              : writeFloats(
                  weight, part.positions, part.before, part.values, part.factor, first, end);
      if (!finite) {
        part.patch.notFinite();
      }
    }
  }

  private static void restoreInts(
      MemorySegment weight, MemorySegment positions, MemorySegment before, int from, int to) {
    for (int i = from; i < to; i++) {
      weight.set(INT, 4L * positions.get(INT, 4L * i), before.get(INT, 4L * i));
    }
  }

  private static void restoreShorts(
      MemorySegment weight, MemorySegment positions, MemorySegment before, int from, int to) {
    for (int i = from; i < to; i++) {
      weight.set(SHORT, 2L * positions.get(INT, 4L * i), before.get(SHORT, 2L * i));
    }
  }

  private static void keepInts(
      MemorySegment weight, MemorySegment positions, MemorySegment before, int from, int to) {
    for (int i = from; i < to; i++) {
      before.set(INT, 4L * i, weight.get(INT, 4L * positions.get(INT, 4L * i)));
    }
  }

  private static void keepShorts(
      MemorySegment weight, MemorySegment positions, MemorySegment before, int from, int to) {
    for (int i = from; i < to; i++) {
      before.set(SHORT, 2L * i, weight.get(SHORT, 2L * positions.get(INT, 4L * i)));
    }
  }

  /** Writes what was kept and what is added to it; whether all of it is finite. */
  private static boolean writeFloats(
      MemorySegment weight,
      MemorySegment positions,
      MemorySegment before,
      MemorySegment values,
      float factor,
      int from,
      int to) {
    int largest = 0;
    for (int i = from; i < to; i++) {
      float sum = Math.fma(values.get(FLOAT, 4L * i), factor, before.get(FLOAT, 4L * i));
      largest = Math.max(largest, Float.floatToRawIntBits(sum) & MAGNITUDE);
      weight.set(FLOAT, 4L * positions.get(INT, 4L * i), sum);
    }
    return largest < INFINITE;
  }

  private static boolean writeShorts(
      MemorySegment weight,
      MemorySegment positions,
      MemorySegment before,
      MemorySegment values,
      float factor,
      int from,
      int to) {
    int largest = 0;
    for (int i = from; i < to; i++) {
      float old = Float.intBitsToFloat(before.get(SHORT, 2L * i) << 16);
      float sum = Math.fma(values.get(FLOAT, 4L * i), factor, old);
      int bits = Float.floatToRawIntBits(sum);
      bits += 0x7FFF + ((bits >>> 16) & 1); // to the nearest bfloat16, ties to even
      if (Float.isNaN(sum)) {
        bits = NOT_A_NUMBER; // rounding might have carried it over to a number
      }
      largest = Math.max(largest, bits & MAGNITUDE);
      weight.set(SHORT, 2L * positions.get(INT, 4L * i), (short) (bits >>> 16));
    }
    return largest < INFINITE;
  }
}
