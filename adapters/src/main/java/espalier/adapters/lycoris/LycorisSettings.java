package espalier.adapters.lycoris;

import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.Violations;
import java.util.Map;

/**
 * The settings that LoHa and LoKr have in common.
 *
 * @param r rank of the factors, 1 or more
 * @param alpha numerator of the scaling alpha / r
 * @param rankDropout probability that an output feature of the branch is dropped, in [0, 1]
 * @param moduleDropout probability that a whole layer goes without its branch, in [0, 1]
 * @param effectiveConv2d whether a convolution with more than one place in its kernel gets a core
 *     tensor of its own
 * @param rankPattern ranks by path
 * @param alphaPattern alphas by path
 */
public record LycorisSettings(
    int r,
    double alpha,
    double rankDropout,
    double moduleDropout,
    boolean effectiveConv2d,
    PathMap<Integer> rankPattern,
    PathMap<Double> alphaPattern) {

  private static final LycorisSettings DEFAULTS =
      new LycorisSettings(8, 8, 0, 0, false, PathMap.empty(), PathMap.empty());

  /** r 8, alpha 8, nothing dropped. */
  public static LycorisSettings defaults() {
    return DEFAULTS;
  }

  /** The same settings with another rank and another numerator of the scaling. */
  public LycorisSettings withRank(int rank, double numerator) {
    return new LycorisSettings(
        rank, numerator, rankDropout, moduleDropout, effectiveConv2d, rankPattern, alphaPattern);
  }

  /** The same settings with other probabilities of dropping output features and whole branches. */
  public LycorisSettings withDropout(double ofRank, double ofModule) {
    return new LycorisSettings(
        r, alpha, ofRank, ofModule, effectiveConv2d, rankPattern, alphaPattern);
  }

  /** The same settings with or without a core tensor for convolutions. */
  public LycorisSettings withEffectiveConv2d(boolean on) {
    return new LycorisSettings(r, alpha, rankDropout, moduleDropout, on, rankPattern, alphaPattern);
  }

  /** The same settings with other ranks and alphas by path; the first key that matches decides. */
  public LycorisSettings withPatterns(Map<String, Integer> ranks, Map<String, Double> alphas) {
    return new LycorisSettings(
        r,
        alpha,
        rankDropout,
        moduleDropout,
        effectiveConv2d,
        new PathMap<>(ranks),
        new PathMap<>(alphas));
  }

  /** Checks the numbers, and the layers that they are for. */
  public void check(Targets targets) {
    var wrong =
        new Violations()
            .unless(r >= 1, "r is %d but a rank is 1 or more; 8 is the method's default", r)
            .unless(
                Double.isFinite(alpha),
                "alpha is %s but a finite number is needed; 8 is the method's default",
                alpha)
            .unless(
                targets.layersPattern() == null || targets.layers() != null,
                "layers_pattern has no effect without layers_to_transform; name the layers there");
    probability(wrong, "rank_dropout", rankDropout);
    probability(wrong, "module_dropout", moduleDropout);
    rankPattern
        .entries()
        .forEach(
            (key, rank) ->
                wrong.unless(
                    rank >= 1, "rank_pattern has %d for %s but a rank is 1 or more", rank, key));
    wrong.raise();
  }

  private static void probability(Violations wrong, String field, double p) {
    wrong.unless(
        p >= 0 && p <= 1, "%s is %s but must lie in [0, 1]; 0 turns it off", field, p); // and NaN
  }

  /** The rank on a layer. */
  public int rankAt(String path) {
    return rankPattern.at(path, r);
  }

  /** The factor on the branch of a layer. */
  public double scalingAt(String path) {
    return alphaPattern.at(path, alpha) / rankAt(path);
  }

  /** The settings that go by path, by their field. */
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern, "alpha_pattern", alphaPattern);
  }

  /** The settings from the fields of a file. */
  public static LycorisSettings read(ConfigFields in) {
    return new LycorisSettings(
        in.integer("r", 8),
        in.number("alpha", 8),
        in.number("rank_dropout", 0),
        in.number("module_dropout", 0),
        in.flag("use_effective_conv2d", false),
        in.integersByPath("rank_pattern"),
        in.numbersByPath("alpha_pattern"));
  }

  /** Writes the fields. */
  public void write(ConfigWriter out) {
    out.put("r", r)
        .putNumber("alpha", alpha)
        .put("rank_dropout", rankDropout)
        .put("module_dropout", moduleDropout)
        .put("use_effective_conv2d", effectiveConv2d)
        .put("rank_pattern", rankPattern)
        .put("alpha_pattern", alphaPattern);
  }
}
