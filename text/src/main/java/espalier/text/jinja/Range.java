package espalier.text.jinja;

import java.util.AbstractList;
import java.util.RandomAccess;

/** Whole numbers at equal distances, which print as the call that made them. */
final class Range extends AbstractList<Object> implements RandomAccess {

  private final long start;
  private final long stop;
  private final long step;
  private final int size;

  Range(long start, long stop, long step) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    size = Math.toIntExact(size(start, stop, step));
  }

  /** How many numbers there are from {@code start} up or down to before {@code stop}. */
  static long size(long start, long stop, long step) {
    long distance = step > 0 ? stop - start : start - stop;
    return distance <= 0 ? 0 : 1 + (distance - 1) / Math.abs(step);
  }

  /** The part that begins at place {@code from} and takes {@code count} strides. */
  Range part(long from, long to, long stride) {
    return new Range(start + from * step, start + to * step, step * stride);
  }

  @Override
  public Object get(int index) {
    return start + index * step;
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public String toString() {
    return step == 1
        ? "range(%d, %d)".formatted(start, stop)
        : "range(%d, %d, %d)".formatted(start, stop, step);
  }
}
