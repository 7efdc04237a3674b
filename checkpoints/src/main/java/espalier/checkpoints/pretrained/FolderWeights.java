package espalier.checkpoints.pretrained;

import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.TensorFile;
import espalier.nn.Float8Weight;
import espalier.nn.Weights;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A folder's tensors in the dtype that the model is to run in. Those in float8 are widened, which
 * is exact, unless a scale stands beside them: without it their values would be others.
 */
record FolderWeights(TensorFile file, ScalarType dtype) implements Weights {

  /** What quantisers append to a weight's name for the numbers that it is to be multiplied by. */
  private static final List<String> SCALES = List.of("_scale", "_scale_inv");

  @Override
  public @Nullable Tensor find(String key) {
    Tensor stored = stored(key);
    return stored == null ? null : inDtype(stored, dtype);
  }

  /** The tensor as the file has it, or null. */
  @Nullable Tensor stored(String key) {
    if (!file.contains(key)) {
      return null;
    }
    Tensor tensor = file.tensor(key);
    if (Float8Weight.holds(tensor)) {
      requireUnscaled(key);
    }
    return tensor;
  }

  private void requireUnscaled(String key) {
    for (String scale : SCALES) {
      if (file.contains(key + scale)) {
        throw CheckpointException.in(
            file.path(),
            "%s is %s with the scale %s%s, which is not honoured: its values would be wrong by that factor; convert the checkpoint to bfloat16 with the tool that made it"
                .formatted(key, file.entry(key).dtype(), key, scale));
      }
    }
  }

  static Tensor inDtype(Tensor tensor, ScalarType dtype) {
    return tensor.is_floating_point() && tensor.scalar_type().intern() != dtype
        ? tensor.to(dtype)
        : tensor;
  }
}
