package espalier.parity;

import espalier.adapters.Adapters;
import espalier.models.Model;
import espalier.models.Task;
import espalier.recipes.CausalTrainee;
import espalier.text.Example;
import espalier.training.Batch;
import espalier.training.Trainee;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A model with one adapter, for the training loop. A decoder is trained as a recipe trains it. For
 * the other tasks, of which a batch can not tell, the case's own batch is kept, and the loop's one
 * only says over how many labels the loss is a sum. A method's penalty is left out, as the
 * reference leaves it to its callers to add one, but for AdaLoRA's, which is in its loss.
 */
final class GoldenTrainee implements Trainee {

  private final Model model;
  private final Adapters adapters;
  private final @Nullable CausalTrainee decoder;
  private final boolean penalised;
  private Map<String, Tensor> stored = Map.of();

  /**
   * A model to train.
   *
   * @param penalised whether the reference's own loss has the method's penalty in it
   */
  GoldenTrainee(Model model, Adapters adapters, boolean penalised) {
    this.model = model;
    this.adapters = adapters;
    this.penalised = penalised;
    decoder = model.task() == Task.CAUSAL_LM ? new CausalTrainee(model, adapters) : null;
  }

  /** The loop's batch for a batch as the cases store it, which is the next to be learned. */
  Batch next(Map<String, Tensor> batch) {
    stored = batch;
    Tensor labels = Objects.requireNonNull(batch.get("labels"));
    if (decoder == null) {
      int count = (int) labels.ne(new Scalar((long) Example.IGNORED)).sum().item_long();
      int[] any = new int[count + 1]; // the first token of an example is never judged
      return Batch.padded(List.of(new Example(any, any)), 0);
    }
    Tensor ids = Objects.requireNonNull(batch.get("input_ids"));
    Tensor mask = Objects.requireNonNull(batch.get("attention_mask"));
    var examples = new ArrayList<Example>();
    for (long row = 0; row < ids.size(0); row++) {
      int length = (int) mask.select(0, row).sum().item_long();
      examples.add(
          new Example(first(length, ids.select(0, row)), first(length, labels.select(0, row))));
    }
    Integer pad = model.config().tokens().pad();
    return Batch.padded(examples, pad == null ? 0 : pad);
  }

  private static int[] first(int count, Tensor row) {
    int[] values = new int[count];
    var pointer = new LongPointer(row.contiguous().data_ptr());
    for (int i = 0; i < count; i++) {
      values[i] = (int) pointer.get(i);
    }
    return values;
  }

  @Override
  public Tensor lossSum(Batch batch) {
    Tensor sum = withoutPenalty(batch);
    Tensor penalty = penalised ? adapters.penalty() : null;
    return penalty == null ? sum : sum.add(penalty.mul(new Scalar((double) batch.tokens())));
  }

  private Tensor withoutPenalty(Batch batch) {
    if (decoder != null) {
      return decoder.lossSum(batch);
    }
    Tensor logits = model.logits(GoldenModel.inputs(stored));
    return GoldenModel.loss(model.task(), logits, stored).mul(new Scalar((double) batch.tokens()));
  }

  @Override
  public Judged judge(Batch batch) {
    throw new UnsupportedOperationException("the cases train and evaluate nothing");
  }

  @Override
  public Map<String, Tensor> parameters() {
    return adapters.parameters();
  }

  @Override
  public void train(boolean on) {
    model.train(on);
  }
}
