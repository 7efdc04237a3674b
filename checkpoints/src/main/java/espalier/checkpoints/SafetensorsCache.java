package espalier.checkpoints;

import espalier.adapters.calibration.TensorCache;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/** Keeps tensors in safetensors files below a folder; folders are made where they are missing. */
public final class SafetensorsCache implements TensorCache {

  private final Path folder;

  /**
   * A cache.
   *
   * @param folder where names begin; names may be absolute paths too
   */
  public SafetensorsCache(Path folder) {
    this.folder = folder;
  }

  /**
   * {@inheritDoc}
   *
   * @throws CheckpointException if there is a file that is no safetensors file
   */
  @Override
  public Optional<Map<String, Tensor>> read(String name) {
    Path file = folder.resolve(name);
    try {
      if (!Files.exists(file) || Files.size(file) == 0) {
        return Optional.empty();
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be read: %s".formatted(file, e), e);
    }
    try (TensorFile open = SafetensorsFile.open(file)) {
      return Optional.of(open.tensors());
    }
  }

  @Override
  public void write(String name, Map<String, Tensor> tensors) {
    Path file = folder.resolve(name).toAbsolutePath();
    try {
      Files.createDirectories(file.getParent());
    } catch (IOException e) {
      throw new CheckpointException(
          "the folder of %s can not be made: %s; choose another place".formatted(file, e), e);
    }
    SafetensorsWriter.write(file, tensors);
  }
}
