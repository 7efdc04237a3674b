package espalier.training;

/**
 * What one evaluation found.
 *
 * @param step optimizer steps done before it; 0 is the model as it was
 * @param loss mean over all labelled tokens, nats per token
 * @param tokenAccuracy part of the labelled tokens that were the model's first choice, in [0, 1]
 * @param tokens labelled tokens counted
 */
public record EvalMetrics(int step, double loss, double tokenAccuracy, long tokens) {

  /** The exponential of the loss: among how many equally likely tokens the model wavers. */
  public double perplexity() {
    return Math.exp(loss);
  }
}
