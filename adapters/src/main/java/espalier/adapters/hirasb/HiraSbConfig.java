package espalier.adapters.hirasb;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Settings of HiRA-SB.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r rank of B [out, r] and A [r, in]; r² numbers train
 * @param space what the low-rank factor acts on
 * @param scale the factor s, or null for √(out · in) / r
 * @param precondition whether R trains in coordinates in which its gradient is the projection of
 *     the full one; r up to 64
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1)
 * @param rankPattern ranks by path
 * @param start how the bases come about
 */
public record HiraSbConfig(
    ConfigHead head,
    Targets targets,
    int r,
    Space space,
    @Nullable Double scale,
    boolean precondition,
    double dropout,
    PathMap<Integer> rankPattern,
    StartSettings start)
    implements AdapterConfig {

  /** The name under which {@link Init#prepared} has the averaged gradient [out, in]. */
  public static final String GRADIENT = "gradient";

  private static final int LARGEST_PRECONDITIONED = 64;

  /** Checks the numbers. */
  public HiraSbConfig {
    var wrong =
        new Violations()
            .unless(r >= 1, "r is %d but a rank is 1 or more; 32 is the method's default", r)
            .unless(
                scale == null || (scale > 0 && Double.isFinite(scale)),
                "scale is %s but must be finite and above 0, or auto",
                String.valueOf(scale))
            .unless( // written so that NaN is refused too
                dropout >= 0 && dropout < 1,
                "hirasb_dropout is %s but must lie in [0, 1); 0 turns it off",
                dropout);
    requireRank(wrong, precondition, "r", r);
    rankPattern
        .entries()
        .forEach(
            (key, rank) -> {
              wrong.unless(
                  rank >= 1, "rank_pattern has %d for %s but a rank is 1 or more", rank, key);
              requireRank(wrong, precondition, "rank_pattern of " + key, rank);
            });
    wrong.raise();
  }

  private static void requireRank(Violations wrong, boolean precondition, String name, int rank) {
    wrong.unless(
        !precondition || rank <= LARGEST_PRECONDITIONED,
        "%s is %d but precondition needs a matrix of r⁴ numbers a layer and goes up to rank %d;"
            + " turn it off or lower the rank",
        name,
        rank,
        LARGEST_PRECONDITIONED);
  }

  /** The method's defaults: r 32, signs, two sweeps, automatic scale, R = 0. */
  public static HiraSbConfig defaults() {
    return new HiraSbConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        32,
        Space.HADAMARD,
        null,
        false,
        0,
        PathMap.empty(),
        StartSettings.defaults());
  }

  /** The same config with another rank. */
  public HiraSbConfig withR(int rank) {
    return new HiraSbConfig(
        head, targets, rank, space, scale, precondition, dropout, rankPattern, start);
  }

  /** The same config in another space. */
  public HiraSbConfig withSpace(Space other) {
    return new HiraSbConfig(
        head, targets, r, other, scale, precondition, dropout, rankPattern, start);
  }

  /** The same config with another factor on the update, or null for the automatic one. */
  public HiraSbConfig withScale(@Nullable Double factor) {
    return new HiraSbConfig(
        head, targets, r, space, factor, precondition, dropout, rankPattern, start);
  }

  /** The same config with or without the preconditioner. */
  public HiraSbConfig withPrecondition(boolean on) {
    return new HiraSbConfig(head, targets, r, space, scale, on, dropout, rankPattern, start);
  }

  /** The same config with another dropout. */
  public HiraSbConfig withDropout(double probability) {
    return new HiraSbConfig(
        head, targets, r, space, scale, precondition, probability, rankPattern, start);
  }

  /** The same config with other ranks by path; the first key that matches decides. */
  public HiraSbConfig withRankPattern(Map<String, Integer> ranks) {
    return new HiraSbConfig(
        head, targets, r, space, scale, precondition, dropout, new PathMap<>(ranks), start);
  }

  /** The same config with another start, such as {@code c.withStart(s -> s.withAlsSweeps(0))}. */
  public HiraSbConfig withStart(UnaryOperator<StartSettings> change) {
    return new HiraSbConfig(
        head, targets, r, space, scale, precondition, dropout, rankPattern, change.apply(start));
  }

  @Override
  public HiraSbConfig withHead(ConfigHead other) {
    return new HiraSbConfig(
        other, targets, r, space, scale, precondition, dropout, rankPattern, start);
  }

  @Override
  public HiraSbConfig withTargets(Targets other) {
    return new HiraSbConfig(
        head, other, r, space, scale, precondition, dropout, rankPattern, start);
  }

  @Override
  public HiraSbFormat format() {
    return new HiraSbFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern);
  }

  /** The factor s on a weight [m, n] (with the kernel among n) whose bases have rank r. */
  double scaleOf(long m, long n, long rank) {
    Double given = scale;
    return given == null ? Math.sqrt((double) m * n) / rank : given;
  }

  /**
   * The rank on a layer.
   *
   * @throws UnsupportedAdapterException if the method does not exist for this kind of layer
   * @throws ConfigException if the weight is smaller than the rank
   */
  int rankOn(Adaptable layer, String path) {
    long in =
        switch (layer) {
          case Linear linear -> linear.in();
          case Convolution convolution -> {
            if (convolution.geometry().groups() > 1) {
              throw new UnsupportedAdapterException(
                  "%s is a %s in %d groups but HiRA-SB needs one group; leave it out"
                      .formatted(path, layer.typeName(), convolution.geometry().groups()));
            }
            yield convolution.weight().numel() / convolution.out();
          }
          default ->
              throw new UnsupportedAdapterException(
                  "%s is a %s but HiRA-SB adapts Linear, Conv1D, Conv1d, Conv2d and Conv3d (rows of an embedding that calibration did not see could never be trained); take it out of target_modules"
                      .formatted(path, layer.typeName()));
        };
    long out = layer.originalWeight().numel() / in;
    int rank = rankPattern.at(path, r);
    if (rank > Math.min(in, out)) {
      throw new ConfigException(
          "r is %d for %s but its weight of %d × %d allows 1 to %d; lower r, or give the layer a rank of its own in rank_pattern"
              .formatted(rank, path, out, in, Math.min(in, out)));
    }
    return rank;
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    int rank = rankOn(layer, path);
    return layer instanceof Convolution convolution
        ? new HiraSbConvolution(this, convolution, path, rank, init)
        : new HiraSbLinear(this, (Linear) layer, path, rank, init);
  }

  @Override
  public List<String> warnings(Adaptable layer, Adapter made) {
    var warnings = new ArrayList<String>();
    if (start.updateTarget() == UpdateTarget.GRADIENT && !precondition && space == Space.HADAMARD) {
      warnings.add(
          "update_target is gradient without precondition, so the steps of R stray far from the"
              + " gradient");
    }
    if (made instanceof HiraSbAdapter adapter && adapter.random()) {
      warnings.add(HiraSbStart.RANDOM);
    }
    return warnings;
  }

  @Override
  public AdapterContents exportedAs(String method, Map<String, Tensor> tensors) {
    return HiraSbExport.of(this, method, tensors);
  }
}
