package espalier.adapters.lora.starts;

import espalier.adapters.lora.LoraInit;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * One batch whose inputs to the layers EVA looks at.
 *
 * @param run runs the model's forward on it
 * @param mask the tokens that count, [batch, time], bool; null for all
 */
public record EvaBatch(Runnable run, @Nullable Tensor mask) {

  /**
   * The tokens of a language model's batch that count: no padding, and, where the settings say so,
   * none whose label is masked.
   *
   * @param attentionMask [batch, time], 1 at tokens
   * @param labels [batch, time], or null if there are none
   * @return [batch, time], bool
   */
  public static Tensor tokens(Tensor attentionMask, @Nullable Tensor labels, LoraInit.Eva eva) {
    Tensor real = attentionMask.ne(new Scalar(0L));
    return eva.useLabelMask() && labels != null
        ? real.logical_and(labels.ne(new Scalar((long) eva.labelMaskValue())))
        : real;
  }
}
