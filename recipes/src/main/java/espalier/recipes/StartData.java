package espalier.recipes;

import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.starts.EvaBatch;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.nn.Adaptable;
import espalier.nn.Scope;
import espalier.text.Example;
import espalier.training.Batch;
import espalier.training.EpochOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToDoubleFunction;
import java.util.stream.Stream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The examples of a recipe that a start looks at, and the model that is run over them. */
final class StartData {

  /** How many examples CorDA and EVA look at; the paper of CorDA takes as many. */
  static final int FORWARD = 256;

  /** How many examples LoRA-GA takes gradients of, which cost three times a forward. */
  static final int BACKWARD = 64;

  private final Model model;
  private final CausalTrainee trainee;
  private final DataSection section;
  private final int batchSize;
  private final int padId;
  private final List<Example> examples;

  /**
   * The first examples in the order of the first epoch.
   *
   * @param count how many at most
   */
  StartData(
      Model model, CausalTrainee trainee, Recipe recipe, List<Example> all, int padId, int count) {
    this.model = model;
    this.trainee = trainee;
    section = recipe.data();
    batchSize = recipe.training().batchSize();
    this.padId = padId;
    EpochOrder order =
        section.shuffle()
            ? new EpochOrder.Shuffled(recipe.training().seed())
            : new EpochOrder.InFileOrder();
    examples = Arrays.stream(order.indexes(all, 0)).limit(count).mapToObj(all::get).toList();
  }

  int size() {
    return examples.size();
  }

  /** How many batches these are. */
  int batches() {
    return (examples.size() + batchSize - 1) / batchSize;
  }

  private List<List<Example>> parts() {
    var parts = new ArrayList<List<Example>>();
    for (int from = 0; from < examples.size(); from += batchSize) {
      parts.add(examples.subList(from, Math.min(examples.size(), from + batchSize)));
    }
    return parts;
  }

  /** Runs the model over each example by itself, without gradients. */
  void oneByOne() {
    for (Example example : examples) {
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        forward(Batch.padded(List.of(example), padId));
      }
    }
  }

  private void forward(Batch batch) {
    // Padding stands on the right, where no real token looks, so no mask is needed.
    Tensor hidden = model.hidden(ModelInputs.of(batch.inputIds()));
    boolean head =
        model.outputHead().map(model::find).orElse(null) instanceof Adaptable layer
            && layer.observed();
    if (head) {
      Tensor _ = model.head(hidden);
    }
  }

  /** Runs forward and backward of the mean loss of each batch. */
  void backward() {
    long _ = backward(batch -> (double) batch.tokens());
  }

  /** Runs forward and backward of the summed loss of each batch; returns the number of tokens. */
  long summedBackward() {
    return backward(_ -> 1);
  }

  private long backward(ToDoubleFunction<Batch> divisor) {
    long tokens = 0;
    for (List<Example> part : parts()) {
      Batch batch =
          section.packing()
              ? Batch.packed(part, section.maxLength(), padId)
              : Batch.padded(part, padId);
      if (batch.tokens() > 0) {
        try (var _ = Scope.graph()) {
          trainee.lossSum(batch).div(new Scalar(divisor.applyAsDouble(batch))).backward();
        }
        tokens += batch.tokens();
      }
    }
    return tokens;
  }

  /** Batches for EVA, with the tokens that count: all that are learned, or all real ones. */
  Iterable<EvaBatch> batches(LoraInit.Eva eva) {
    List<Batch> batches =
        parts().stream()
            .map(part -> Batch.padded(part, padId))
            .filter(batch -> batch.tokens() > 0)
            .toList();
    return () -> stream(batches, eva).iterator();
  }

  private Stream<EvaBatch> stream(List<Batch> batches, LoraInit.Eva eva) {
    return batches.stream()
        .map(
            batch -> {
              @Nullable Tensor labels =
                  eva.useLabelMask() ? batch.labels(eva.labelMaskValue()) : null;
              Tensor mask = EvaBatch.tokens(batch.attentionMask(), labels, eva);
              return new EvaBatch(() -> forward(batch), mask, batch);
            });
  }
}
