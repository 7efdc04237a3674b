package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads the descriptions of the tensors and checks that each has a place of its own. */
final class TensorReader {

  private static final int MOST_TENSORS = 1 << 20;
  private static final int MOST_DIMENSIONS = 4;

  private final HeaderCursor in;

  TensorReader(HeaderCursor in) {
    this.in = in;
  }

  int count() {
    // a name of one byte, one dimension, type and offset
    return in.count(8 + 1 + 4 + 8 + 4 + 8, MOST_TENSORS, "the number of tensors");
  }

  /**
   * All tensors in file order, by name.
   *
   * @param alignment of each tensor's first byte, a power of two
   */
  Map<String, TensorInfo> read(int tensors, long alignment) {
    List<Described> described = new ArrayList<>();
    for (int i = 0; i < tensors; i++) {
      described.add(describe("tensor %d of %d".formatted(i + 1, tensors), alignment));
    }
    long data = Math.ceilDiv(in.at(), alignment) * alignment;
    long room = Math.max(0, in.at() + in.left() - data);
    Map<String, TensorInfo> byName = new LinkedHashMap<>();
    for (Described tensor : described) {
      TensorInfo info = tensor.placed(data);
      // Written so that offset + bytes, which may not fit a long, is never formed.
      if (tensor.offset > room || info.bytes() > room - tensor.offset) {
        throw in.refused(
            tensor.start,
            "%s takes %d bytes at offset %d of the data, but the data has %d"
                .formatted(info.name(), info.bytes(), tensor.offset, room));
      }
      if (byName.put(info.name(), info) != null) {
        throw in.refused(tensor.start, "the tensor %s is there twice".formatted(info.name()));
      }
    }
    refuseOverlaps(described, data);
    return byName;
  }

  /** A description whose offset still counts from where the data starts. */
  private record Described(long start, TensorInfo info, long offset) {
    TensorInfo placed(long data) {
      return new TensorInfo(info.name(), info.shape(), info.format(), data + offset, info.bytes());
    }
  }

  private Described describe(String which, long alignment) {
    long start = in.at();
    String name = in.string("the name of " + which);
    if (name.isEmpty()) {
      throw in.refused(start, which + " has no name");
    }
    List<Long> shape = shape(name);
    BlockFormat format = format(name);
    long bytes = bytes(start, name, shape, format);
    long place = in.at();
    long offset = in.int64("the offset of " + name);
    if (offset < 0 || offset % alignment != 0) {
      throw in.refused(
          place,
          "%s has offset %s, but an offset is a multiple of the alignment %d"
              .formatted(name, Long.toUnsignedString(offset), alignment));
    }
    return new Described(start, new TensorInfo(name, shape, format, 0, bytes), offset);
  }

  private List<Long> shape(String name) {
    long start = in.at();
    int dimensions = in.int32("the number of dimensions of " + name);
    if (dimensions < 1 || dimensions > MOST_DIMENSIONS) {
      throw in.refused(
          start,
          "%s has %s dimensions, but 1 to %d are allowed"
              .formatted(name, Integer.toUnsignedString(dimensions), MOST_DIMENSIONS));
    }
    List<Long> shape = new ArrayList<>();
    for (int i = 0; i < dimensions; i++) {
      long place = in.at();
      long size = in.int64("dimension %d of %s".formatted(i + 1, name));
      if (size < 1) {
        throw in.refused(
            place,
            "dimension %d of %s is %s, but a dimension is 1 or more"
                .formatted(i + 1, name, Long.toUnsignedString(size)));
      }
      shape.addFirst(size);
    }
    return shape;
  }

  private BlockFormat format(String name) {
    long start = in.at();
    int id = in.int32("the type of " + name);
    BlockFormat format = BlockFormats.find(id);
    if (format == null) {
      throw in.unread(
          start,
          "%s is stored as %s, which is not read; %s are: requantise the file to one of them"
              .formatted(name, BlockFormats.describe(id), BlockFormats.names()));
    }
    return format;
  }

  private long bytes(long start, String name, List<Long> shape, BlockFormat format) {
    long row = shape.getLast();
    if (row % format.elements() != 0) {
      throw in.refused(
          start,
          "%s has rows of %d, but %s is stored in blocks of %d"
              .formatted(name, row, format.name(), format.elements()));
    }
    try {
      long blocks = row / format.elements();
      long elements = row;
      for (long size : shape.subList(0, shape.size() - 1)) {
        blocks = Math.multiplyExact(blocks, size);
        elements = Math.multiplyExact(elements, size); // callers multiply the shape unchecked
      }
      Math.multiplyExact(elements, 4L); // nor does its float32 size overflow
      return Math.multiplyExact(blocks, format.bytes());
    } catch (ArithmeticException e) {
      throw in.refused(
          start, "%s has shape %s, whose product does not fit 63 bits".formatted(name, shape));
    }
  }

  private void refuseOverlaps(List<Described> tensors, long data) {
    List<Described> byPlace = new ArrayList<>(tensors);
    byPlace.sort(Comparator.comparingLong(Described::offset));
    for (int i = 1; i < byPlace.size(); i++) {
      Described before = byPlace.get(i - 1);
      Described tensor = byPlace.get(i);
      long end = before.offset + before.info.bytes();
      if (tensor.offset < end) {
        throw in.refused(
            tensor.start,
            "%s starts at byte %d, within %s, which ends at byte %d"
                .formatted(
                    tensor.info.name(), data + tensor.offset, before.info.name(), data + end));
      }
    }
  }
}
