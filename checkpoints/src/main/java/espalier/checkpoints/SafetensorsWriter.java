package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * Writes a safetensors file, byte for byte as the reference writer does: widest dtype first, names
 * of one dtype in byte order, so that every tensor is aligned.
 */
public final class SafetensorsWriter {

  /** What PyTorch's tools want to see in a file's metadata. */
  public static final Map<String, String> PYTORCH = Map.of("format", "pt");

  /** Large enough for the disk, small enough that a written page is soon reclaimable. */
  private static final int CHUNK = 1 << 24;

  private SafetensorsWriter() {}

  /** Writes {@code tensors} with the metadata {@code {"format": "pt"}}. */
  public static void write(Path file, Map<String, Tensor> tensors) {
    write(file, tensors, PYTORCH);
  }

  /**
   * Writes {@code tensors}, whole or not at all. One tensor at a time is made contiguous on the
   * CPU, if it is not; tensors that share memory are written as separate copies.
   *
   * @param file replaced if it is there
   * @param tensors by name, of any dtype that the format has, on any device
   * @param metadata goes to {@code __metadata__}; left out if empty
   * @throws IllegalArgumentException if a name or a tensor cannot be written
   * @throws CheckpointException if the file cannot be written, for instance because the disk is
   *     full; nothing is left then
   */
  public static void write(Path file, Map<String, Tensor> tensors, Map<String, String> metadata) {
    List<Piece> pieces =
        tensors.entrySet().stream()
            .map(named -> Piece.of(named.getKey(), named.getValue()))
            .sorted(
                Comparator.comparing(Piece::dtype)
                    .reversed()
                    .thenComparing(Piece::utf8Name, Arrays::compareUnsigned))
            .toList();
    byte[] header = SafetensorsHeaderText.of(pieces, metadata);
    AtomicFiles.writeChannel(
        file,
        channel -> {
          var length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
          writeAll(channel, length.putLong(header.length).flip());
          writeAll(channel, ByteBuffer.wrap(header));
          for (Piece piece : pieces) {
            writeData(channel, piece.tensor());
          }
        });
  }

  private static void writeData(FileChannel channel, Tensor tensor) throws IOException {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      // A lazily conjugated or negated tensor has other bytes in memory than its values say.
      Tensor plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
      long bytes = plain.nbytes();
      if (bytes == 0) {
        return;
      }
      BytePointer data = new BytePointer(plain.data_ptr());
      for (long at = 0; at < bytes; at += CHUNK) {
        writeAll(channel, data.position(at).limit(Math.min(at + CHUNK, bytes)).asByteBuffer());
      }
    }
  }

  private static void writeAll(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  /** A tensor with its name and what the header says of it. */
  record Piece(String name, Dtype dtype, Tensor tensor) {

    static Piece of(String name, Tensor tensor) {
      if (name.isEmpty() || name.equals("__metadata__")) {
        throw new IllegalArgumentException(
            "a tensor is called '%s' but a safetensors file needs another name for it"
                .formatted(name));
      }
      if (!UTF_8.newEncoder().canEncode(name)) {
        throw new IllegalArgumentException(
            "the tensor name %s is no valid Unicode; half a surrogate pair is in it"
                .formatted(name));
      }
      if (!tensor.defined() || tensor.is_sparse() || tensor.is_quantized() || tensor.is_meta()) {
        throw new IllegalArgumentException(
            name + " has no plain dense values to write; make it dense, or leave it out");
      }
      Dtype dtype = Dtype.of(tensor.scalar_type().intern());
      if (dtype == null) {
        throw new IllegalArgumentException(
            "%s is %s but safetensors files hold %s; cast it first"
                .formatted(name, tensor.scalar_type().intern(), Dtype.names()));
      }
      return new Piece(name, dtype, tensor);
    }

    byte[] utf8Name() {
      return name.getBytes(UTF_8);
    }

    long bytes() {
      return tensor.nbytes();
    }

    /** Sizes as the format counts them: F4 has two elements in each byte of libtorch's. */
    long[] shape() {
      long[] shape = new long[(int) tensor.dim()];
      for (int i = 0; i < shape.length; i++) {
        shape[i] = tensor.size(i);
      }
      if (dtype == Dtype.F4 && shape.length > 0) {
        shape[shape.length - 1] *= 2;
      }
      return shape;
    }
  }
}
