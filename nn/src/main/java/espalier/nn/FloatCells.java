package espalier.nn;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Entries of a float32 weight, from one place in the list of them to another. */
final class FloatCells {

  // The tensors of a mapped file may begin anywhere.
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

  private static final int MAGNITUDE = 0x7FFF_FFFF;
  private static final int INFINITE = 0x7F80_0000;

  private FloatCells() {}

  /** Writes what is ready, bit for bit. */
  static void put(
      MemorySegment weight, MemorySegment positions, MemorySegment ready, int from, int to) {
    for (int i = from; i < to; i++) {
      weight.set(INT, 4L * positions.get(INT, 4L * i), ready.get(INT, 4L * i));
    }
  }

  /** Keeps what stands in the weight, bit for bit. */
  static void keep(
      MemorySegment weight, MemorySegment positions, MemorySegment kept, int from, int to) {
    for (int i = from; i < to; i++) {
      kept.set(INT, 4L * i, weight.get(INT, 4L * positions.get(INT, 4L * i)));
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
      float sum = sum(kept, values, factor, i);
      ready.set(FLOAT, 4L * i, sum);
      largest = Math.max(largest, Float.floatToRawIntBits(sum) & MAGNITUDE);
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
      float sum = sum(kept, values, factor, i);
      weight.set(FLOAT, 4L * positions.get(INT, 4L * i), sum);
      largest = Math.max(largest, Float.floatToRawIntBits(sum) & MAGNITUDE);
    }
    return largest < INFINITE;
  }

  private static float sum(MemorySegment kept, MemorySegment values, float factor, int i) {
    return Math.fma(values.get(FLOAT, 4L * i), factor, kept.get(FLOAT, 4L * i));
  }
}
