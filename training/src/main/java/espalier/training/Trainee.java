package espalier.training;

import espalier.nn.Collective;
import espalier.nn.Shard;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What the loop needs of what it trains. The loop never asks which method or model it is. */
public interface Trainee {

  /**
   * The loss of one micro-batch, summed over its labelled tokens, in nats.
   *
   * @return a scalar, float32, with a graph where gradients are on
   */
  Tensor lossSum(Batch batch);

  /** How many of the labelled tokens were the first choice. Runs without gradients. */
  Judged judge(Batch batch);

  /**
   * What the method adds to the loss of a step beside the mean over its tokens, or null for
   * nothing. Asked for once a step, after the forward passes of all its micro-batches.
   *
   * @return a scalar with a graph
   */
  default @Nullable Tensor penalty() {
    return null;
  }

  /** The trained parameters by the name under which their optimizer state is kept, in order. */
  Map<String, Tensor> parameters();

  /** Those who compute the model together, or null where this process does it alone. */
  default @Nullable Collective ranks() {
    return null;
  }

  /**
   * How trained parameters are split over the ranks, by the names of {@link #parameters}. Those
   * that are absent are whole on each rank, with the same values and gradients.
   */
  default Map<String, Shard> shards() {
    return Map.of();
  }

  /**
   * Whether {@linkplain Batch#sharing several examples may share} the tokens that they begin with:
   * what is computed at a token must depend on nothing but the tokens up to it.
   */
  default boolean sharesTokens() {
    return false;
  }

  /** Switches dropout and the like on or off. */
  void train(boolean on);

  /**
   * What an evaluation found in one micro-batch.
   *
   * @param lossSum summed loss, nats
   * @param correct labelled tokens that were the model's first choice
   */
  record Judged(double lossSum, long correct) {}
}
