package espalier.nn;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Entries of a bfloat16 weight, from one place in the list of them to another. */
final class BFloat16Cells {

  // The tensors of a mapped file may begin anywhere.
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

  // a bfloat16 as the upper half of a float32
  private static final int MAGNITUDE = 0x7FFF_0000;
  private static final int INFINITE = 0x7F80_0000;
  private static final int NOT_A_NUMBER = 0x7FC0_0000;

  private BFloat16Cells() {}

  /** Writes what is ready, bit for bit. */
  static void put(
      MemorySegment weight, MemorySegment positions, MemorySegment ready, int from, int to) {
    for (int i = from; i < to; i++) {
      weight.set(SHORT, 2L * positions.get(INT, 4L * i), ready.get(SHORT, 2L * i));
    }
  }

  /** Keeps what stands in the weight, bit for bit. */
  static void keep(
      MemorySegment weight, MemorySegment positions, MemorySegment kept, int from, int to) {
    for (int i = from; i < to; i++) {
      kept.set(SHORT, 2L * i, weight.get(SHORT, 2L * positions.get(INT, 4L * i)));
    }
  }

  /** Adds factor times the values to what was kept; whether every sum is finite. */
  static boolean add(
      MemorySegment kept,
      MemorySegment values,
      float factor,
      MemorySegment ready,
      int from,
      int to) {
    int largest = 0;
    for (int i = from; i < to; i++) {
      int sum = sum(kept, values, factor, i);
      ready.set(SHORT, 2L * i, (short) (sum >>> 16));
      largest = Math.max(largest, sum & MAGNITUDE);
    }
    return largest < INFINITE;
  }

  /** Adds and writes at once; whether every sum is finite. */
  static boolean write(
      MemorySegment weight,
      MemorySegment positions,
      MemorySegment kept,
      MemorySegment values,
      float factor,
      int from,
      int to) {
    int largest = 0;
    for (int i = from; i < to; i++) {
      int sum = sum(kept, values, factor, i);
      weight.set(SHORT, 2L * positions.get(INT, 4L * i), (short) (sum >>> 16));
      largest = Math.max(largest, sum & MAGNITUDE);
    }
    return largest < INFINITE;
  }

  /** Computed in float32 and rounded once, to the nearest, ties to even; in the upper half. */
  private static int sum(MemorySegment kept, MemorySegment values, float factor, int i) {
    float before = Float.intBitsToFloat(kept.get(SHORT, 2L * i) << 16);
    float sum = Math.fma(values.get(FLOAT, 4L * i), factor, before);
    if (Float.isNaN(sum)) {
      return NOT_A_NUMBER; // rounding might carry its bits over into a number
    }
    int bits = Float.floatToRawIntBits(sum);
    return bits + 0x7FFF + ((bits >>> 16) & 1);
  }
}
