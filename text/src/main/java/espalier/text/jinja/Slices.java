package espalier.text.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code value[from:to:step]} of a text or a list. */
final class Slices {

  private static final long FARTHEST = Long.MAX_VALUE / 4;

  private Slices() {}

  static Object slice(
      Run run, Object value, @Nullable Object from, @Nullable Object to, @Nullable Object step) {
    long stride = bound(step, 1);
    if (stride == 0) {
      throw new JinjaException("slice step cannot be zero");
    }
    return switch (value) {
      case String text -> {
        int[] points = text.codePoints().toArray();
        run.string(text.length());
        StringBuilder part = new StringBuilder();
        for (long i : places(points.length, from, to, stride)) {
          part.appendCodePoint(points[(int) i]);
        }
        yield run.alike(text, part.toString());
      }
      case Range range -> part(range, from, to, stride);
      case List<?> list -> {
        List<Object> part = new ArrayList<>();
        run.list(list.size());
        for (long i : places(list.size(), from, to, stride)) {
          part.add(list.get((int) i));
        }
        yield value instanceof Tuple ? new Tuple(part) : part;
      }
      case Undefined undefined -> throw undefined.error();
      default ->
          throw new JinjaException("'%s' object cannot be sliced".formatted(Values.typeOf(value)));
    };
  }

  private static Range part(Range range, @Nullable Object from, @Nullable Object to, long stride) {
    Bounds bounds = bounds(range.size(), from, to, stride);
    return range.part(bounds.start(), bounds.end(), stride);
  }

  /** Where the part begins, and what it ends before. */
  private record Bounds(long start, long end) {}

  private static Bounds bounds(
      long length, @Nullable Object from, @Nullable Object to, long stride) {
    long first = stride > 0 ? 0 : -1; // where a bound below the start ends up
    long last = stride > 0 ? length : length - 1;
    long start = place(from, stride > 0 ? first : last, length, first, last);
    long end = place(to, stride > 0 ? last : first, length, first, last);
    return new Bounds(start, end);
  }

  private static long[] places(
      long length, @Nullable Object from, @Nullable Object to, long stride) {
    Bounds bounds = bounds(length, from, to, stride);
    long start = bounds.start();
    long end = bounds.end();
    long count = stride > 0 ? ceil(end - start, stride) : ceil(start - end, negated(stride));
    long[] places = new long[(int) Math.clamp(count, 0, length)];
    for (int i = 0; i < places.length; i++) {
      places[i] = start + i * stride;
    }
    return places;
  }

  private static long ceil(long distance, long stride) {
    return distance <= 0 ? 0 : 1 + (distance - 1) / stride;
  }

  private static long negated(long stride) {
    return stride == Long.MIN_VALUE ? Long.MAX_VALUE : -stride;
  }

  private static long place(
      @Nullable Object bound, long otherwise, long length, long first, long last) {
    if (bound == null || bound == None.NONE) {
      return otherwise;
    }
    long place = bound(bound, 0);
    return Math.clamp(place < 0 ? place + length : place, first, last);
  }

  private static long bound(@Nullable Object bound, long otherwise) {
    return switch (bound) {
      case null -> otherwise;
      case None _ -> otherwise;
      case Long number -> number;
      case Boolean bool -> bool ? 1 : 0;
      case BigInteger number -> number.signum() < 0 ? -FARTHEST : FARTHEST;
      case Undefined undefined -> throw undefined.error();
      default ->
          throw new JinjaException(
              "slice indices must be whole numbers, not '%s'".formatted(Values.typeOf(bound)));
    };
  }
}
