package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Gets a model with quantised weights ready for training as QLoRA does: what is left in half
 * precision becomes float32, and backward computes the blocks again instead of keeping what they
 * made.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA</a>
 */
public final class KbitTraining {

  private KbitTraining() {}

  /**
   * Freezes all parameters, widens those in half precision, and switches gradient checkpointing on.
   * Quantised weights stay as they are and go on computing in their dtype; a weight that is shared
   * stays shared. Must be called before adapters come.
   */
  public static void prepare(Model model) {
    prepare(model, true);
  }

  /**
   * As {@link #prepare(Model)}.
   *
   * @param checkpointing whether blocks are computed again in backward
   */
  public static void prepare(Model model, boolean checkpointing) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var widened = new HashMap<Long, Tensor>();
      for (Adaptable layer : model.adaptables()) {
        boolean codes = layer instanceof Linear linear && linear.quantised() != null;
        Tensor weight = codes ? null : wide(layer.weight(), widened);
        if (weight != null) {
          layer.rebase(weight);
        }
        Tensor own = layer.bias();
        Tensor bias = own == null ? null : wide(own, widened);
        if (bias != null) {
          layer.rebaseBias(bias);
        }
      }
      model.namedParameters().values().forEach(parameter -> parameter.set_requires_grad(false));
    }
    model.gradientCheckpointing(checkpointing);
  }

  /** The tensor in float32, the same one for the same memory; null if it is no half precision. */
  private static @Nullable Tensor wide(Tensor tensor, Map<Long, Tensor> widened) {
    return HalfPrecision.isHalf(tensor)
        ? widened.computeIfAbsent(tensor.data_ptr().address(), _ -> tensor.to(ScalarType.Float))
        : null;
  }
}
