package espalier.checkpoints.gguf;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Writes a GGUF file of version 3: keys and values, then plain numbers, each tensor on a multiple
 * of 32 bytes.
 */
final class GgufWriter {

  private static final int VERSION = 3;
  private static final int ALIGNMENT = 32;
  private static final int CHUNK = 1 << 20;

  private final ByteBuffer eight = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
  private final OutputStream out;
  private long written;

  private GgufWriter(OutputStream out) {
    this.out = out;
  }

  /**
   * Writes a file, whole or not at all.
   *
   * @param file replaced if it is there
   * @param keys by name: String, Integer (as u32), Float, or a List of Integer (as u32)
   * @param tensors by name, float32, float16 or bfloat16, of one to four dimensions
   * @throws CheckpointException if it can not be written; nothing is left then
   */
  static void write(Path file, Map<String, Object> keys, Map<String, Tensor> tensors) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var plain = new LinkedHashMap<String, Tensor>();
      tensors.forEach((name, tensor) -> plain.put(name, tensor.detach().cpu().contiguous()));
      AtomicFiles.write(file, out -> new GgufWriter(out).all(keys, plain));
    }
  }

  private void all(Map<String, Object> keys, Map<String, Tensor> tensors) throws IOException {
    raw("GGUF".getBytes(UTF_8));
    u32(VERSION);
    u64(tensors.size());
    u64(keys.size());
    for (var entry : keys.entrySet()) {
      string(entry.getKey());
      u32(type(entry.getValue()));
      value(entry.getValue());
    }
    long offset = 0;
    for (var entry : tensors.entrySet()) {
      Tensor tensor = entry.getValue();
      string(entry.getKey());
      u32((int) tensor.dim());
      for (long dimension = tensor.dim() - 1; dimension >= 0; dimension--) {
        u64(tensor.size(dimension)); // the fastest first
      }
      u32(format(entry.getKey(), tensor));
      u64(offset);
      offset = aligned(offset + tensor.nbytes());
    }
    for (Tensor tensor : tensors.values()) {
      pad();
      data(tensor);
    }
    pad();
  }

  private static int type(Object value) {
    return switch (value) {
      case Integer _ -> 4;
      case Float _ -> 6;
      case String _ -> 8;
      case List<?> _ -> 9;
      default -> throw new IllegalArgumentException("no GGUF type is known for " + value);
    };
  }

  private void value(Object value) throws IOException {
    switch (value) {
      case Integer number -> u32(number);
      case Float number -> u32(Float.floatToRawIntBits(number));
      case String text -> string(text);
      case List<?> list -> {
        u32(4);
        u64(list.size());
        for (Object element : list) {
          u32((Integer) element);
        }
      }
      default -> throw new IllegalArgumentException("no GGUF type is known for " + value);
    }
  }

  /** The number of the tensor's format. */
  private static int format(String name, Tensor tensor) {
    ScalarType dtype = tensor.scalar_type().intern();
    return switch (dtype) {
      case Float -> 0;
      case Half -> 1;
      case BFloat16 -> 30;
      default ->
          throw new IllegalArgumentException(
              "%s is %s but is written as float32, float16 or bfloat16; cast it first"
                  .formatted(name, dtype));
    };
  }

  private void data(Tensor tensor) throws IOException {
    long bytes = tensor.nbytes();
    var chunk = new byte[(int) Math.min(CHUNK, bytes)];
    try (var _ = new PointerScope()) {
      var data = new BytePointer(tensor.data_ptr());
      for (long at = 0; at < bytes; at += chunk.length) {
        int length = (int) Math.min(chunk.length, bytes - at);
        data.position(at).get(chunk, 0, length);
        out.write(chunk, 0, length);
      }
    }
    written += bytes;
  }

  private void pad() throws IOException {
    raw(new byte[(int) (aligned(written) - written)]);
  }

  private static long aligned(long offset) {
    return Math.ceilDiv(offset, (long) ALIGNMENT) * ALIGNMENT;
  }

  private void string(String text) throws IOException {
    byte[] utf8 = text.getBytes(UTF_8);
    u64(utf8.length);
    raw(utf8);
  }

  private void u32(int number) throws IOException {
    raw(eight.putInt(0, number).array(), 4);
  }

  private void u64(long number) throws IOException {
    raw(eight.putLong(0, number).array(), 8);
  }

  private void raw(byte[] bytes) throws IOException {
    raw(bytes, bytes.length);
  }

  private void raw(byte[] bytes, int length) throws IOException {
    out.write(bytes, 0, length);
    written += length;
  }
}
