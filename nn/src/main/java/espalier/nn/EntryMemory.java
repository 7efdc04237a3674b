package espalier.nn;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A weight in memory that is read and written entry by entry, without a call of the library: where
 * a few entries of each of many layers change, its calls cost more than the entries. Every access
 * is checked against the size of its tensor.
 */
final class EntryMemory {

  /** Entries of one or two lines of a cache. */
  private static final int LINE = 32;

  private final MemorySegment weight;
  private final boolean half; // bfloat16, otherwise float32
  private final long size;
  private final List<Part> leaving;
  private final List<Part> coming;

  @SuppressWarnings("UnusedVariable") // written so that loads are not left out
  private int looked;

  /** The memory of a patch. */
  private record Part(
      Patch patch,
      int count,
      float factor,
      MemorySegment positions, // int32
      MemorySegment values, // float32
      MemorySegment before, // as the weight
      @Nullable MemorySegment ready) { // as the weight

    /** The first entry that does not stand above a position. */
    int firstFrom(long position) {
      int low = 0;
      int high = count;
      while (low < high) {
        int middle = (low + high) >>> 1;
        if (positions.get(ValueLayout.JAVA_INT_UNALIGNED, 4L * middle) < position) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      return low;
    }
  }

  private EntryMemory(
      MemorySegment weight, boolean half, long size, List<Part> leaving, List<Part> coming) {
    this.weight = weight;
    this.half = half;
    this.size = size;
    this.leaving = leaving;
    this.coming = coming;
  }

  /**
   * The memory of a weight and of its patches, or null where the library must do it: on a device,
   * where entries do not lie side by side, and for other dtypes than float32 and bfloat16.
   */
  static @Nullable EntryMemory of(Tensor weight, List<Patch> leaving, List<Patch> coming) {
    ScalarType dtype = weight.scalar_type().intern();
    boolean half = dtype == ScalarType.BFloat16;
    boolean known = half || dtype == ScalarType.Float;
    if (!known
        || !plain(weight)
        || !leaving.stream().allMatch(EntryMemory::fits)
        || !coming.stream().allMatch(EntryMemory::fits)) {
      return null;
    }
    long size = weight.numel();
    return new EntryMemory(
        segment(weight, size * bytes(half)),
        half,
        size,
        leaving.stream().map(patch -> part(patch, half)).toList(),
        coming.stream().map(patch -> part(patch, half)).toList());
  }

  private static boolean fits(Patch patch) {
    Tensor positions = patch.entries().positions();
    Tensor values = patch.entries().values();
    return positions.scalar_type().intern() == ScalarType.Int
        && values.scalar_type().intern() == ScalarType.Float
        && plain(positions)
        && plain(values);
  }

  private static boolean plain(Tensor tensor) {
    return tensor.is_cpu() && tensor.is_contiguous();
  }

  private static Part part(Patch patch, boolean half) {
    Entries entries = patch.entries();
    int count = Math.toIntExact(entries.positions().numel());
    Tensor ready = patch.ready();
    return new Part(
        patch,
        count,
        (float) entries.factor(),
        segment(entries.positions(), 4L * count),
        segment(entries.values(), 4L * count),
        segment(patch.before(), count * bytes(half)),
        ready == null ? null : segment(ready, count * bytes(half)));
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
    return leaving.stream().mapToLong(Part::count).sum()
        + coming.stream().mapToLong(Part::count).sum();
  }

  /** Exchanges the patches in a part of the weight. */
  void exchange(long from, long to) {
    // Stores wait for their cache lines one after the other, loads for many at a time: where hardly
    // two entries share a line, to look at them first was measured three times faster.
    for (List<Part> parts : List.of(leaving, coming)) {
      for (Part part : parts) {
        if (part.count < size / LINE) {
          look(part, part.firstFrom(from), part.firstFrom(to));
        }
      }
    }
    for (Part part : leaving) {
      put(part, part.before, part.firstFrom(from), part.firstFrom(to));
    }
    for (Part part : coming) {
      int first = part.firstFrom(from);
      int end = part.firstFrom(to);
      if (!part.patch.held()) {
        keep(part, first, end);
      }
      boolean finite = true;
      if (part.ready == null) {
        finite = write(part, first, end);
      } else {
        if (!part.patch.made()) {
          finite = add(part, part.ready, first, end);
        }
        put(part, part.ready, first, end);
      }
      if (!finite) {
        part.patch.notFinite();
      }
    }
  }

  private void look(Part part, int from, int to) {
    int all = 0;
    for (int i = from; i < to; i++) {
      int position = part.positions.get(ValueLayout.JAVA_INT_UNALIGNED, 4L * i);
      all |= weight.get(ValueLayout.JAVA_BYTE, position * bytes(half));
    }
    looked = all;
  }

  private void put(Part part, MemorySegment ready, int from, int to) {
    if (half) {
      BFloat16Cells.put(weight, part.positions, ready, from, to);
    } else {
      FloatCells.put(weight, part.positions, ready, from, to);
    }
  }

  private void keep(Part part, int from, int to) {
    if (half) {
      BFloat16Cells.keep(weight, part.positions, part.before, from, to);
    } else {
      FloatCells.keep(weight, part.positions, part.before, from, to);
    }
  }

  private boolean add(Part part, MemorySegment ready, int from, int to) {
    return half
        ? BFloat16Cells.add(part.before, part.values, part.factor, ready, from, to)
        : FloatCells.add(part.before, part.values, part.factor, ready, from, to);
  }

  private boolean write(Part part, int from, int to) {
    return half
        ? BFloat16Cells.write(
            weight, part.positions, part.before, part.values, part.factor, from, to)
        : FloatCells.write(weight, part.positions, part.before, part.values, part.factor, from, to);
  }
}
