package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A GGUF file as it stands: metadata, and tensors under the file's own names. It is mapped, not
 * read: a tensor's bytes come into memory when the tensor is asked for. All of the header is
 * checked when the file is opened, so that nothing in it can lead outside the file.
 *
 * <pre>{@code
 * try (var file = GgufFile.open(path)) {
 *   Tensor embeddings = file.tensor("token_embd.weight", ScalarType.Float);
 * }
 * }</pre>
 *
 * <p>Tensors outlive the file. Several threads may read at once.
 */
public final class GgufFile implements AutoCloseable {

  private final Path path;
  private final Arena arena;
  private final MemorySegment bytes;
  private final GgufHeader header;

  private GgufFile(Path path, Arena arena, MemorySegment bytes, GgufHeader header) {
    this.path = path;
    this.arena = arena;
    this.bytes = bytes;
    this.header = header;
  }

  /**
   * Opens a file of version 2 or 3.
   *
   * @throws CheckpointException if there is no such file or it is not a sound GGUF file, naming the
   *     offset and what was read there
   */
  @SuppressWarnings("MustBeClosedChecker") // closed with the file
  public static GgufFile open(Path path) {
    Arena arena = Arena.ofShared();
    try (FileChannel channel = FileChannel.open(path)) {
      MemorySegment bytes = channel.map(MapMode.READ_ONLY, 0, channel.size(), arena);
      return new GgufFile(path, arena, bytes, GgufHeader.read(path, bytes));
    } catch (IOException e) {
      arena.close();
      throw new CheckpointException("%s can not be opened: %s".formatted(path, e), e);
    } catch (RuntimeException | Error e) {
      arena.close();
      throw e;
    }
  }

  /** The path that it was opened by. */
  public Path path() {
    return path;
  }

  /** The version of the file format, 2 or 3. */
  public int version() {
    return header.version();
  }

  /** The keys and values of the header. */
  public GgufMetadata metadata() {
    return header.metadata();
  }

  /** All tensors in file order. */
  public List<TensorInfo> tensors() {
    return List.copyOf(header.tensors().values());
  }

  /** The tensor of that name in the file, such as {@code blk.0.attn_q.weight}. */
  public Optional<TensorInfo> find(String name) {
    return Optional.ofNullable(header.tensors().get(name));
  }

  /**
   * Reads a tensor. It belongs to the current scope, like any other.
   *
   * @param name as the file calls it
   * @param dtype float32 or bfloat16
   * @return [the file's dimensions, slowest first]
   */
  public Tensor tensor(String name, ScalarType dtype) {
    TensorInfo info = info(name);
    return read(TensorSource.whole(info), dtype);
  }

  /**
   * Reads some rows of a tensor, all of its dimensions but the last taken as one.
   *
   * @param name as the file calls it
   * @param fromRow the first row, from 0
   * @param toRow the row after the last
   * @param dtype float32 or bfloat16
   * @return [toRow - fromRow, row]
   */
  public Tensor dequantiseRows(String name, long fromRow, long toRow, ScalarType dtype) {
    return read(TensorSource.whole(info(name)).rows(fromRow, toRow), dtype);
  }

  Tensor read(TensorSource source, ScalarType dtype) {
    return new Dequantiser(path, bytes).read(source, dtype);
  }

  Map<String, TensorInfo> byName() {
    return header.tensors();
  }

  private TensorInfo info(String name) {
    return find(name)
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "%s has no tensor %s among its %d; GgufFile.tensors() lists them"
                        .formatted(path, name, header.tensors().size())));
  }

  /** Gives the mapping back. Reading afterwards is an {@link IllegalStateException}. */
  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
