package espalier.checkpoints;

import java.nio.file.Path;
import java.util.function.Function;
import org.bytedeco.pytorch.Tensor;

/**
 * The weights that a quantised model was made from, read from safetensors one at a time, by the
 * path of their layer.
 */
public final class OriginalWeights implements Function<String, Tensor>, AutoCloseable {

  private final TensorFile file;

  private OriginalWeights(TensorFile file) {
    this.file = file;
  }

  /**
   * Opens a safetensors file, or a model's folder with one or several.
   *
   * @throws CheckpointException if there are none, or they are pickles
   */
  public static OriginalWeights open(Path fileOrFolder) {
    return new OriginalWeights(TensorFile.open(fileOrFolder));
  }

  /**
   * The weight of a layer as the file stores it, in the caller's scope. A file may lack the model's
   * prefix, the first name of the path.
   *
   * @throws CheckpointException if there is none
   */
  @Override
  public Tensor apply(String path) {
    String key = path + ".weight";
    String bare = key.substring(key.indexOf('.') + 1);
    return file.tensor(!file.contains(key) && file.contains(bare) ? bare : key);
  }

  @Override
  public void close() {
    file.close();
  }
}
