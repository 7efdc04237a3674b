package espalier.training;

import static org.bytedeco.pytorch.global.torch.clip_grad_norm_;

import espalier.nn.Collective;
import espalier.nn.Scope;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/** Takes optimizer steps: forward and backward of each micro-batch, clip, update. */
public final class Trainer {

  private final Trainee model;
  private final Optimizer optimizer;
  private final double maxGradNorm;
  private final Map<String, Tensor> parameters;
  private final @Nullable Collective ranks;
  private final Set<String> split; // parameters of which each rank has a part

  /**
   * A trainer of the parameters that the model has now.
   *
   * @param maxGradNorm the norm that all gradients together are clipped to; 0 turns clipping off
   */
  public Trainer(Trainee model, Optimizer optimizer, double maxGradNorm) {
    if (!(maxGradNorm >= 0)) {
      throw new IllegalArgumentException(
          "max_grad_norm is %s but must not be negative; 1.0 is usual and 0 turns clipping off"
              .formatted(maxGradNorm));
    }
    this.model = model;
    this.optimizer = optimizer;
    this.maxGradNorm = maxGradNorm;
    ranks = model.ranks();
    split = Set.copyOf(model.shards().keySet());
    parameters = Collections.unmodifiableMap(new LinkedHashMap<>(model.parameters()));
  }

  /**
   * What a step did.
   *
   * @param loss mean over the step's labelled tokens before the update, nats per token; without the
   *     method's {@linkplain Trainee#penalty penalty}, so that methods compare
   * @param gradNorm norm of all gradients together before clipping
   * @param tokens labelled tokens
   */
  public record Step(double loss, double gradNorm, long tokens) {}

  /**
   * Takes one step over the micro-batches together.
   *
   * @param factor the schedule's factor on the learning rate
   * @throws DivergedException if the loss or a gradient is not finite; parameters are unchanged
   */
  public Step step(List<Batch> microBatches, double factor) {
    long tokens = microBatches.stream().mapToLong(Batch::tokens).sum();
    if (tokens == 0) {
      throw new IllegalArgumentException(
          "a step without a labelled token teaches nothing; leave such examples out");
    }
    double loss = 0;
    for (Batch batch : microBatches) {
      if (batch.tokens() == 0) {
        continue;
      }
      try (var _ = Scope.graph()) { // frees this micro-batch's activations
        // Divided by the tokens of the whole step, so that short micro-batches do not weigh more.
        Tensor share = model.lossSum(batch).div(new Scalar((double) tokens));
        loss += share.item_float(); // waits for the device: once a micro-batch, no more
        if (!Double.isFinite(loss)) {
          clearGradients();
          throw new DivergedException(
              "the loss is %s; the learning rate is too high or the base model overflows in its dtype; lower learning_rate, or use dtype bf16 or f32"
                  .formatted(loss));
        }
        share.backward();
      }
    }
    addPenalty();
    double norm = clip();
    if (!Double.isFinite(norm)) {
      clearGradients();
      throw new DivergedException(
          "the gradient's norm is %s while the loss is %s; lower learning_rate or warm up longer"
              .formatted(norm, loss));
    }
    optimizer.step(factor);
    clearGradients();
    return new Step(loss, norm, tokens);
  }

  private void addPenalty() {
    try (var _ = Scope.graph()) {
      Tensor penalty = model.penalty();
      if (penalty != null && penalty.requires_grad()) {
        penalty.backward();
      }
    }
  }

  private double clip() {
    if (ranks != null) {
      return RanksClip.clip(parameters, split, ranks, maxGradNorm);
    }
    try (var _ = new PointerScope()) {
      var withGradient = new TensorVector();
      for (Tensor p : parameters.values()) {
        if (p.grad().defined()) {
          withGradient.push_back(p);
        }
      }
      if (withGradient.empty()) {
        return 0;
      }
      // An infinite bound measures without changing anything.
      return clip_grad_norm_(
          withGradient, maxGradNorm == 0 ? Double.POSITIVE_INFINITY : maxGradNorm);
    }
  }

  private void clearGradients() {
    for (Tensor p : parameters.values()) {
      p.mutable_grad().reset();
    }
  }
}
