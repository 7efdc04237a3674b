package espalier.adapters.gralora;

import espalier.adapters.AdapterConfig;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Map;

/**
 * Settings of GraLoRA.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r rank of the blocks together, divisible by k; a block has rank r / k, the update up to
 *     k·r
 * @param hybridR rank of a plain LoRA part beside the blocks, 0 for none
 * @param k blocks a side; 2 is usual up to r 32, 4 from r 64
 * @param alpha the branch is scaled by alpha / (r + hybridR)
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1]
 * @param bias which biases of the base train along
 * @param neutral whether B starts at zero, so that a fresh adapter changes nothing; false is for
 *     tests
 * @param rankPattern ranks of the blocks by path, each divisible by k; the reference has none
 */
public record GraloraConfig(
    ConfigHead head,
    Targets targets,
    int r,
    int hybridR,
    int k,
    double alpha,
    double dropout,
    BiasTraining bias,
    boolean neutral,
    PathMap<Integer> rankPattern)
    implements AdapterConfig {

  /** Checks the numbers. */
  public GraloraConfig {
    var wrong =
        new Violations()
            .unless(r >= 1, "r is %d but a rank is 1 or more; 32 is the method's default", r)
            .unless(
                hybridR >= 0,
                "hybrid_r is %d but must not be negative; 0 leaves the plain part out",
                hybridR)
            .unless(k >= 1, "gralora_k is %d but 1 or more is needed; 2 is the method's default", k)
            .unless(
                k < 1 || r % k == 0,
                "r is %d but must be divisible by gralora_k, which is %d; change one of them",
                r,
                k)
            .unless(Double.isFinite(alpha), "alpha is %s but a finite number is needed", alpha)
            .unless( // written so that NaN is refused too
                dropout >= 0 && dropout <= 1,
                "gralora_dropout is %s but must lie in [0, 1]; 0 turns it off",
                dropout);
    int side = k;
    rankPattern
        .entries()
        .forEach(
            (key, rank) ->
                wrong.unless(
                    rank >= 1 && (side < 1 || rank % side == 0),
                    "rank_pattern has %d for %s but a rank is 1 or more and divisible by"
                        + " gralora_k, which is %d",
                    rank,
                    key,
                    side));
    wrong.raise();
  }

  /** The method's defaults: r 32 in 2 × 2 blocks, alpha 64, the architecture's usual layers. */
  public static GraloraConfig defaults() {
    return new GraloraConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        32,
        0,
        2,
        64,
        0,
        BiasTraining.NONE,
        true,
        PathMap.empty());
  }

  /** The same config with another rank of the blocks together. */
  public GraloraConfig withR(int rank) {
    return new GraloraConfig(
        head, targets, rank, hybridR, k, alpha, dropout, bias, neutral, rankPattern);
  }

  /** The same config with another rank of the plain LoRA part. */
  public GraloraConfig withHybridR(int rank) {
    return new GraloraConfig(head, targets, r, rank, k, alpha, dropout, bias, neutral, rankPattern);
  }

  /** The same config with another number of blocks a side. */
  public GraloraConfig withK(int blocks) {
    return new GraloraConfig(
        head, targets, r, hybridR, blocks, alpha, dropout, bias, neutral, rankPattern);
  }

  /** The same config with another rank and number of blocks a side, which must divide it. */
  public GraloraConfig withRAndK(int rank, int blocks) {
    return new GraloraConfig(
        head, targets, rank, hybridR, blocks, alpha, dropout, bias, neutral, rankPattern);
  }

  /** The same config with another alpha. */
  public GraloraConfig withAlpha(double other) {
    return new GraloraConfig(
        head, targets, r, hybridR, k, other, dropout, bias, neutral, rankPattern);
  }

  /** The same config with another dropout. */
  public GraloraConfig withDropout(double probability) {
    return new GraloraConfig(
        head, targets, r, hybridR, k, alpha, probability, bias, neutral, rankPattern);
  }

  /** The same config with other biases trained. */
  public GraloraConfig withBias(BiasTraining which) {
    return new GraloraConfig(
        head, targets, r, hybridR, k, alpha, dropout, which, neutral, rankPattern);
  }

  /** The same config with B at zero at first, or not. */
  public GraloraConfig withNeutral(boolean zero) {
    return new GraloraConfig(head, targets, r, hybridR, k, alpha, dropout, bias, zero, rankPattern);
  }

  /** The same config with other ranks by path; the first key that matches decides. */
  public GraloraConfig withRankPattern(Map<String, Integer> ranks) {
    return new GraloraConfig(
        head, targets, r, hybridR, k, alpha, dropout, bias, neutral, new PathMap<>(ranks));
  }

  @Override
  public GraloraConfig withHead(ConfigHead other) {
    return new GraloraConfig(
        other, targets, r, hybridR, k, alpha, dropout, bias, neutral, rankPattern);
  }

  @Override
  public GraloraConfig withTargets(Targets other) {
    return new GraloraConfig(
        head, other, r, hybridR, k, alpha, dropout, bias, neutral, rankPattern);
  }

  @Override
  public GraloraFormat format() {
    return new GraloraFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern);
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    if (!(layer instanceof Linear linear)) {
      throw new UnsupportedAdapterException(
          "%s is a %s but GraLoRA adapts Linear and Conv1D; take it out of target_modules"
              .formatted(path, layer.typeName()));
    }
    BlockGrid.requireDivides("gralora_k", k, linear, path);
    return new GraloraLinear(this, linear, rankPattern.at(path, r), random);
  }
}
