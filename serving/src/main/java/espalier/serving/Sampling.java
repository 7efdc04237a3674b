package espalier.serving;

import java.util.List;

/**
 * How the next token is chosen, and when to stop. The settings work in the order in which the
 * Python reference applies them: {@code repetitionPenalty}, {@code minNewTokens}, {@code
 * temperature}, {@code topK}, {@code topP}, {@code minP}.
 *
 * <pre>{@code
 * Sampling.defaults().withTemperature(0.7).withTopP(0.9).withSeed(7)
 * }</pre>
 *
 * @param temperature divides the logits before the softmax; 0 takes the most likely token always
 *     (of equals the one with the lowest id), and {@code topK}, {@code topP}, {@code minP} and
 *     {@code seed} then have no say
 * @param topK how many of the most likely tokens stay, with those that tie with the last; 0 for all
 * @param topP keeps the most likely tokens whose probabilities first sum up to this, in [0, 1]; 1
 *     for all
 * @param minP drops tokens less likely than this times the most likely one, in [0, 1]; 0 for none
 * @param repetitionPenalty divides positive and multiplies negative logits of tokens that stand in
 *     the prompt or were generated already; 1 changes nothing, more makes them less likely (Keskar
 *     et al. 2019, section 4.1)
 * @param seed start of each row's own random stream, so that a row's text does not depend on the
 *     rows beside it; two rows with the same prompt and seed get the same text
 * @param maxNewTokens tokens after which a row ends, 1 or more
 * @param minNewTokens tokens before which the model can not end a row by itself; stop strings still
 *     do
 * @param stop texts that end a row where they appear; the text ends before them. Special tokens
 *     have no text and are never found
 */
public record Sampling(
    double temperature,
    int topK,
    double topP,
    double minP,
    double repetitionPenalty,
    long seed,
    int maxNewTokens,
    int minNewTokens,
    List<String> stop) {

  public Sampling {
    if (!(temperature >= 0 && temperature < Double.POSITIVE_INFINITY)) { // refuses NaN too
      throw new IllegalArgumentException(
          "temperature is %s but must be 0 or more and finite; 0 takes the most likely token always"
              .formatted(temperature));
    }
    if (topK < 0) {
      throw new IllegalArgumentException(
          "topK is %d but must be 0 or more; 0 turns it off".formatted(topK));
    }
    if (!(topP >= 0 && topP <= 1)) {
      throw new IllegalArgumentException(
          "topP is %s but must lie in [0, 1]; 1 turns it off".formatted(topP));
    }
    if (!(minP >= 0 && minP <= 1)) {
      throw new IllegalArgumentException(
          "minP is %s but must lie in [0, 1]; 0 turns it off".formatted(minP));
    }
    if (!(repetitionPenalty > 0 && repetitionPenalty < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(
          "repetitionPenalty is %s but must be more than 0 and finite; 1 turns it off"
              .formatted(repetitionPenalty));
    }
    if (maxNewTokens < 1) {
      throw new IllegalArgumentException(
          "maxNewTokens is %d but must be 1 or more".formatted(maxNewTokens));
    }
    if (minNewTokens < 0 || minNewTokens > maxNewTokens) {
      throw new IllegalArgumentException(
          "minNewTokens is %d but must be from 0 to maxNewTokens, which is %d; raise maxNewTokens or lower it"
              .formatted(minNewTokens, maxNewTokens));
    }
    stop = List.copyOf(stop);
    if (stop.contains("")) {
      throw new IllegalArgumentException(
          "stop holds an empty text, which would end every row at once; leave it out");
    }
  }

  /** The most likely token always, up to 256 of them. */
  public static Sampling greedy() {
    return new Sampling(0, 0, 1, 0, 1, 0, 256, 0, List.of());
  }

  /**
   * A draw from the 50 most likely tokens as the model weighs them, which is what the Python
   * reference does when it is told to sample; up to 256 tokens, seed 0.
   */
  public static Sampling defaults() {
    return new Sampling(1, 50, 1, 0, 1, 0, 256, 0, List.of());
  }

  /** Whether the most likely token is taken always. */
  public boolean isGreedy() {
    return temperature == 0;
  }

  public Sampling withTemperature(double temperature) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withTopK(int topK) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withTopP(double topP) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withMinP(double minP) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withRepetitionPenalty(double repetitionPenalty) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withSeed(long seed) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withMaxNewTokens(int maxNewTokens) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withMinNewTokens(int minNewTokens) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }

  public Sampling withStop(String... stop) {
    return withStop(List.of(stop));
  }

  public Sampling withStop(List<String> stop) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, seed, maxNewTokens, minNewTokens, stop);
  }
}
