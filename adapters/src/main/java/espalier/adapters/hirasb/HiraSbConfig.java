package espalier.adapters.hirasb;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Settings of HiRA-SB.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r rank of B [out, r] and A [r, in]; r² numbers train
 * @param updateTarget which first step of full fine-tuning the bases are to hold
 * @param alsSweeps sweeps of alternating least squares; 0 leaves the balanced SVD
 * @param calibrationBatches batches to average the gradient over, for whoever computes it
 * @param precondition whether R trains in coordinates in which its gradient is the projection of
 *     the full one; r up to 64
 * @param matchStep the learning rate of the first full step that R starts at, or 0 to start at none
 * @param space what the low-rank factor acts on
 * @param scale the factor s, or null for √(out · in) / r
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1)
 * @param rankPattern ranks by path
 * @param initSeed seed of the random draws of the start
 */
public record HiraSbConfig(
    ConfigHead head,
    Targets targets,
    int r,
    UpdateTarget updateTarget,
    int alsSweeps,
    int calibrationBatches,
    boolean precondition,
    double matchStep,
    Space space,
    @Nullable Double scale,
    double dropout,
    PathMap<Integer> rankPattern,
    int initSeed)
    implements AdapterConfig {

  /** The name under which {@link Init#prepared} has the averaged gradient [out, in]. */
  public static final String GRADIENT = "gradient";

  private static final int LARGEST_PRECONDITIONED = 64;

  /** Checks the numbers. */
  public HiraSbConfig {
    var wrong =
        new Violations()
            .unless(r >= 1, "r is %d but a rank is 1 or more; 32 is the method's default", r)
            .unless(alsSweeps >= 0, "als_sweeps is %d but must be 0 or more", alsSweeps)
            .unless(
                calibrationBatches >= 1,
                "calibration_batches is %d but must be 1 or more",
                calibrationBatches)
            .unless(
                matchStep >= 0 && Double.isFinite(matchStep),
                "match_step is %s but must be finite and 0 or more; 0 starts at the base",
                matchStep)
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
        UpdateTarget.SIGN,
        2,
        16,
        false,
        0,
        Space.HADAMARD,
        null,
        0,
        PathMap.empty(),
        0);
  }

  /** The same config with another rank. */
  public HiraSbConfig withR(int rank) {
    return new HiraSbConfig(
        head,
        targets,
        rank,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config with another target for the bases. */
  public HiraSbConfig withUpdateTarget(UpdateTarget target) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        target,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config with another number of sweeps. */
  public HiraSbConfig withAlsSweeps(int sweeps) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        updateTarget,
        sweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config with or without the preconditioner. */
  public HiraSbConfig withPrecondition(boolean on) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        on,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config with another first step to start at. */
  public HiraSbConfig withMatchStep(double rate) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        rate,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config in another space. */
  public HiraSbConfig withSpace(Space other) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        other,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  /** The same config with another factor on the update, or null for the automatic one. */
  public HiraSbConfig withScale(@Nullable Double factor) {
    return new HiraSbConfig(
        head,
        targets,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        factor,
        dropout,
        rankPattern,
        initSeed);
  }

  @Override
  public HiraSbConfig withHead(ConfigHead other) {
    return new HiraSbConfig(
        other,
        targets,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  @Override
  public HiraSbConfig withTargets(Targets other) {
    return new HiraSbConfig(
        head,
        other,
        r,
        updateTarget,
        alsSweeps,
        calibrationBatches,
        precondition,
        matchStep,
        space,
        scale,
        dropout,
        rankPattern,
        initSeed);
  }

  @Override
  public HiraSbFormat format() {
    return new HiraSbFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern);
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    if (!(layer instanceof Linear linear)) {
      throw new UnsupportedAdapterException(
          "%s is a %s but HiRA-SB adapts Linear and Conv1D; take it out of target_modules"
              .formatted(path, layer.typeName()));
    }
    int rank = rankPattern.at(path, r);
    long most = Math.min(linear.in(), linear.out());
    if (rank > most) {
      throw new ConfigException(
          "r is %d for %s but its weight of %d × %d allows 1 to %d; lower r, or give the layer a rank of its own in rank_pattern"
              .formatted(rank, path, linear.out(), linear.in(), most));
    }
    return new HiraSbLinear(this, linear, path, rank, init);
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    var warnings = new ArrayList<String>();
    if (updateTarget == UpdateTarget.GRADIENT && !precondition && space == Space.HADAMARD) {
      warnings.add(
          "update_target is gradient without precondition, so the steps of R stray far from the"
              + " gradient");
    }
    return warnings;
  }
}
