package espalier.models;

/**
 * Probabilities of dropout in training, each in [0, 1).
 *
 * @param embedding on what enters the first block
 * @param residual on what attention and feed-forward add
 * @param inner on what is between the two layers of a feed-forward
 * @param output on what leaves the last norm
 */
record Dropouts(double embedding, double residual, double inner, double output) {

  static final Dropouts NONE = new Dropouts(0, 0, 0, 0);
}
