package espalier.checkpoints.gguf;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes small GGUF files. */
final class TinyGguf {

  static final int F32 = 0;
  static final int Q4_0 = 2;
  static final int Q8_0 = 8;

  private static final int ALIGNMENT = 32;

  private record TinyTensor(String name, int type, List<Long> shape, Blocks blocks) {}

  private static final class Blocks {
    final byte[] data;

    Blocks(byte[] data) {
      this.data = data;
    }
  }

  private final Map<String, Object> keys = new LinkedHashMap<>();
  private final Map<String, TinyTensor> tensors = new LinkedHashMap<>();

  /**
   * Sets a key: Byte as i8, Short as i16, Integer as u32, Long as u64, Float, Double, Boolean,
   * String, or a List of one of these.
   */
  TinyGguf key(String name, Object value) {
    keys.put(name, value);
    return this;
  }

  TinyGguf without(String name) {
    keys.remove(name);
    tensors.remove(name);
    return this;
  }

  /** Adds the keys below {@code tokenizer} of another file. */
  TinyGguf withTokenizerOf(TinyGguf other) {
    other.keys.forEach(
        (name, value) -> {
          if (name.startsWith("tokenizer.")) {
            keys.put(name, value);
          }
        });
    return this;
  }

  /** Adds float32 numbers, the shape in torch's order. */
  TinyGguf floats(String name, float[] values, long... shape) {
    ByteBuffer data =
        ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    data.asFloatBuffer().put(values);
    return tensor(name, F32, data.array(), shape);
  }

  /** Adds a tensor of 0, 1, 2, ... */
  TinyGguf counting(String name, long... shape) {
    int count = 1;
    for (long size : shape) {
      count *= (int) size;
    }
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = i;
    }
    return floats(name, values, shape);
  }

  TinyGguf tensor(String name, int type, byte[] data, long... shape) {
    List<Long> sizes = new ArrayList<>();
    for (long size : shape) {
      sizes.add(size);
    }
    tensors.put(name, new TinyTensor(name, type, sizes, new Blocks(data)));
    return this;
  }

  /** The file, of version 3. */
  byte[] bytes() {
    var out = new Out();
    out.text("GGUF").u32(3).u64(tensors.size()).u64(keys.size());
    keys.forEach(
        (name, value) -> {
          out.string(name).u32(type(value));
          out.value(value);
        });
    long offset = 0;
    for (TinyTensor tensor : tensors.values()) {
      out.string(tensor.name).u32(tensor.shape.size());
      tensor.shape.reversed().forEach(out::u64);
      out.u32(tensor.type).u64(offset);
      offset = aligned(offset + tensor.blocks.data.length);
    }
    for (TinyTensor tensor : tensors.values()) {
      out.pad().raw(tensor.blocks.data);
    }
    return out.bytes.toByteArray();
  }

  Path write(Path folder) {
    try {
      return Files.write(folder.resolve("tiny.gguf"), bytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static long aligned(long offset) {
    return Math.ceilDiv(offset, (long) ALIGNMENT) * ALIGNMENT;
  }

  private static int type(Object value) {
    return switch (value) {
      case Byte _ -> 1;
      case Short _ -> 3;
      case Integer _ -> 4;
      case Float _ -> 6;
      case Boolean _ -> 7;
      case String _ -> 8;
      case List<?> _ -> 9;
      case Long _ -> 10;
      case Double _ -> 12;
      default -> throw new IllegalArgumentException("no type for " + value);
    };
  }

  private static final class Out {

    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

    Out raw(byte[] data) {
      bytes.writeBytes(data);
      return this;
    }

    Out text(String text) {
      return raw(text.getBytes(StandardCharsets.UTF_8));
    }

    Out string(String text) {
      return u64(text.getBytes(StandardCharsets.UTF_8).length).text(text);
    }

    Out u32(int value) {
      return raw(little(4).putInt(value).array());
    }

    Out u64(long value) {
      return raw(little(8).putLong(value).array());
    }

    Out pad() {
      return raw(new byte[(int) (aligned(bytes.size()) - bytes.size())]);
    }

    Out value(Object value) {
      return switch (value) {
        case Byte number -> raw(new byte[] {number});
        case Short number -> raw(little(2).putShort(number).array());
        case Integer number -> u32(number);
        case Float number -> u32(Float.floatToRawIntBits(number));
        case Boolean flag -> raw(new byte[] {(byte) (flag ? 1 : 0)});
        case String text -> string(text);
        case Long number -> u64(number);
        case Double number -> u64(Double.doubleToRawLongBits(number));
        case List<?> list -> list(list);
        default -> throw new IllegalArgumentException("no type for " + value);
      };
    }

    private Out list(List<?> list) {
      u32(list.isEmpty() ? 4 : type(list.getFirst())).u64(list.size());
      list.forEach(this::value);
      return this;
    }

    private static ByteBuffer little(int size) {
      return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    }
  }
}
