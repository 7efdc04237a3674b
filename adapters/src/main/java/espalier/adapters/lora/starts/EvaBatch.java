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
 * @param data what tells that the batch is one that was there before, with the same inputs and the
 *     same mask: the same object; null if that is not known. The rows of such batches are kept, as
 *     far as there is room, so that the model need not run again when the batches come round.
 */
public record EvaBatch(Runnable run, @Nullable Tensor mask, @Nullable Object data) {

  /** A batch of which is not known whether it was there before. */
  public EvaBatch(Runnable run, @Nullable Tensor mask) {
    this(run, mask, null);
  }

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
