package espalier.models;

/**
 * A decoder with a head over the vocabulary, as a family reads it from a config.
 *
 * @param tied whether the head is the token embedding's table
 * @param maxPositions longest sequence that the config names, in tokens
 */
record CausalPlan(DecoderSpec spec, boolean tied, int maxPositions) {}
