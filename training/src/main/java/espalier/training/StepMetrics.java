package espalier.training;

/**
 * What one optimizer step did.
 *
 * @param step counted from 1: the number of steps done, this one among them
 * @param totalSteps steps of the whole run
 * @param loss mean over the step's labelled tokens, nats per token
 * @param learningRate the rate that the step used
 * @param gradNorm norm of all gradients together before clipping
 * @param tokens labelled tokens of this step, those that the loss is the mean over
 * @param tokensPerSecond tokens that went through the model per second in this step, padding left
 *     out
 * @param peakMemoryBytes the most memory that the process has held, in bytes
 */
public record StepMetrics(
    int step,
    int totalSteps,
    double loss,
    double learningRate,
    double gradNorm,
    long tokens,
    double tokensPerSecond,
    long peakMemoryBytes) {}
