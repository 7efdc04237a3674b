package espalier.checkpoints.pretrained;

import espalier.checkpoints.TensorFile;
import espalier.nn.Float8Weight;
import espalier.nn.QuantisedWeight;
import espalier.nn.Weights;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A folder whose matrices in float8 stay as they are: a byte a weight, read from the mapped file.
 *
 * @param transposed whether the checkpoint stores linear weights as [in, out]; these are copied
 */
record KeptFloat8(FolderWeights plain, boolean transposed) implements Weights {

  private static final Set<String> FORMS = Set.of("F8_E4M3", "F8_E5M2");

  /** Whether a file has anything to keep. */
  static boolean isIn(TensorFile file) {
    return file.entries().values().stream().anyMatch(entry -> FORMS.contains(entry.dtype()));
  }

  @Override
  public @Nullable Tensor find(String key) {
    return plain.find(key);
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    try (var _ = new PointerScope()) {
      Tensor stored = plain.stored(key);
      return stored == null || stored.dim() != 2 || !Float8Weight.holds(stored)
          ? null
          : Float8Weight.of(transposed ? stored.t() : stored, plain.dtype());
    }
  }
}
