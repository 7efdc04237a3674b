package espalier.checkpoints;

import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * One safetensors file, memory-mapped: opening reads the header only, a tensor is a view of the
 * file's pages.
 *
 * <p>The header is checked whole before the first tensor can be had, at least as strictly as the
 * reference reader does it, so no file, however broken or hostile, can make a tensor that reaches
 * outside of the file.
 *
 * @see <a href="https://github.com/huggingface/safetensors#format">the format</a>
 */
public final class SafetensorsFile implements TensorFile {

  private final MappedFile file;
  private final SafetensorsHeader header;

  private SafetensorsFile(MappedFile file, SafetensorsHeader header) {
    this.file = file;
    this.header = header;
  }

  /**
   * Opens a file of any size.
   *
   * @throws CheckpointException if it cannot be read or its header does not describe it exactly
   */
  public static SafetensorsFile open(Path path) {
    PickleRefusal.checkFile(path);
    MappedFile file = MappedFile.open(path);
    try {
      return new SafetensorsFile(file, SafetensorsHeader.read(path, file.bytes()));
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  @Override
  public Path path() {
    return file.path();
  }

  @Override
  public Map<String, Entry> entries() {
    return header.entries();
  }

  @Override
  public Map<String, String> metadata() {
    return header.metadata();
  }

  /**
   * {@inheritDoc}
   *
   * <p>{@code F4} has two elements in a byte; its tensor has half the size in the last dimension.
   */
  @Override
  public Tensor tensor(String name) {
    Entry entry = entry(name);
    ScalarType type = Objects.requireNonNull(Dtype.named(entry.dtype())).scalarType;
    if (type == null) {
      throw CheckpointException.in(
          file.path(),
          "%s is %s, a number type that libtorch cannot hold; store it as F8_E4M3 or BF16"
              .formatted(name, entry.dtype()));
    }
    long[] shape = entry.shape();
    if (entry.dtype().equals("F4")) {
      shape[shape.length - 1] /= 2; // the header check saw to it that this is exact
    }
    return file.tensor(header.dataStart() + entry.begin(), type, shape);
  }

  @Override
  public void close() {
    file.close();
  }
}
