package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.models.Task;
import espalier.nn.Collective;
import espalier.nn.Linear;
import espalier.nn.Shard;
import espalier.training.Batch;
import espalier.training.CausalLoss;
import espalier.training.Trainee;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** A causal language model with the adapters that are to be trained, as the loop sees it. */
public final class CausalTrainee implements Trainee {

  private final Model model;
  private final Adapters adapters;

  /**
   * Joins a model and its adapters.
   *
   * @throws IllegalArgumentException if the model does not predict next tokens
   */
  public CausalTrainee(Model model, Adapters adapters) {
    if (model.task() != Task.CAUSAL_LM) {
      throw new IllegalArgumentException(
          "%s answers %s but a recipe trains models that predict the next token"
              .formatted(model.modelType(), model.task()));
    }
    this.model = model;
    this.adapters = adapters;
  }

  @Override
  public Tensor lossSum(Batch batch) {
    Tensor judged = judged(batch);
    Tensor head = frozenHead();
    return head == null
        ? CausalLoss.anyHead(judged, batch.targets(), model::head, model.config().vocabulary())
        : CausalLoss.frozenHead(judged, batch.targets(), head);
  }

  @Override
  public Judged judge(Batch batch) {
    return CausalLoss.judge(
        judged(batch), batch.targets(), model::head, model.config().vocabulary());
  }

  // The hidden states whose next token is judged, [tokens, H]: no other position meets the head.
  private Tensor judged(Batch batch) {
    ModelInputs inputs =
        batch.packed()
            ? ModelInputs.reaching(batch.inputIds(), batch.reach())
            // Padding stands on the right, where no real token looks, so mostly no mask is needed.
            : ModelInputs.of(
                batch.inputIds(),
                batch.hasPadding() && adapters.readsPadding() ? batch.attentionMask() : null);
    Tensor hidden = model.hidden(inputs);
    return hidden.reshape(-1, hidden.size(-1)).index_select(0, batch.sources());
  }

  @Override
  public @Nullable Tensor penalty() {
    return adapters.penalty();
  }

  private @Nullable Tensor frozenHead() {
    return model.outputHead().map(model::find).orElse(null) instanceof Linear head
            && head.bias() == null
            && head.adapters().inForce().isEmpty()
            && !head.observed()
            && head.partition() == null // else this rank may have a part of it only
            && !head.weight().requires_grad()
        ? head.weight()
        : null;
  }

  @Override
  public Map<String, Tensor> parameters() {
    return adapters.parameters();
  }

  @Override
  public @Nullable Collective ranks() {
    return adapters.ranks();
  }

  @Override
  public Map<String, Shard> shards() {
    return adapters.shards();
  }

  @Override
  public boolean sharesTokens() {
    return !adapters.needsWholeExamples();
  }

  @Override
  public void train(boolean on) {
    model.train(on);
  }
}
