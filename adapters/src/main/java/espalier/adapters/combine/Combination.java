package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import espalier.adapters.Violations;
import espalier.adapters.combine.CombinationType.Form;
import espalier.adapters.combine.CombinationType.Pruning;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The settings of a combination.
 *
 * @param type how the sources become one
 * @param svdRank rank of the result of a type that decomposes, or null for the largest rank of the
 *     sources; factors of a smaller layer are filled up with zeros
 * @param svdClamp quantile in [0, 1] of all entries of a layer's new factors; what is beyond it is
 *     clamped. Null for no clamping
 * @param svdFullMatrices whether a decomposition would give whole square matrices. What the larger
 *     ones have more are vectors of singular values 0, of which no factor takes any: it can not
 *     change a result, so the thin decomposition is made either way
 * @param svdDriver gesvd, gesvdj or gesvda, or null: which routine of cuSOLVER decomposes on a GPU.
 *     All find the same triplets but for rounding, and the CPU has none of them, so it is checked
 *     and has no effect
 * @param density part of the entries that is kept by a type that prunes, in [0, 1]; 1 prunes
 *     nothing. Null for a type that does not
 * @param majoritySign how signs are elected by a type that does so
 * @param asPlainLora whether sources of VeLoRA and MonteCLoRA, whose update is the plain one, count
 *     as LoRA
 */
public record Combination(
    CombinationType type,
    @Nullable Integer svdRank,
    @Nullable Double svdClamp,
    boolean svdFullMatrices,
    @Nullable String svdDriver,
    @Nullable Double density,
    MajoritySign majoritySign,
    boolean asPlainLora) {

  private static final Set<String> DRIVERS = Set.of("gesvd", "gesvdj", "gesvda");

  /** Checks what does not depend on the sources. */
  public Combination {
    new Violations()
        .unless(
            svdRank == null || svdRank >= 1,
            "svd_rank is %s but a rank is 1 or more; leave it out for the largest of the sources",
            String.valueOf(svdRank))
        .unless(
            svdClamp == null || (svdClamp >= 0 && svdClamp <= 1),
            "svd_clamp is %s but a quantile lies in [0, 1]; leave it out for no clamping",
            String.valueOf(svdClamp))
        .unless(
            svdDriver == null || DRIVERS.contains(svdDriver),
            "svd_driver is %s but gesvd, gesvdj and gesvda are known; leave it out",
            String.valueOf(svdDriver))
        .unless(
            density == null || density >= 0,
            "density is %s but a part of the entries is 0 or more; 0.5 is usual",
            String.valueOf(density))
        .raise();
  }

  /** A type with nothing else set. */
  public static Combination of(CombinationType type) {
    return new Combination(type, null, null, true, null, null, MajoritySign.TOTAL, false);
  }

  /** A type with the part of the entries that it keeps. */
  public static Combination of(CombinationType type, double density) {
    return of(type).withDensity(density);
  }

  /** The same with another rank. */
  public Combination withSvdRank(@Nullable Integer rank) {
    return new Combination(
        type, rank, svdClamp, svdFullMatrices, svdDriver, density, majoritySign, asPlainLora);
  }

  /** The same with another quantile. */
  public Combination withSvdClamp(@Nullable Double quantile) {
    return new Combination(
        type, svdRank, quantile, svdFullMatrices, svdDriver, density, majoritySign, asPlainLora);
  }

  /** The same with whole matrices asked for or not, which gives the same factors. */
  public Combination withSvdFullMatrices(boolean on) {
    return new Combination(
        type, svdRank, svdClamp, on, svdDriver, density, majoritySign, asPlainLora);
  }

  /** The same with a decomposition named, which is checked and not used. */
  public Combination withSvdDriver(@Nullable String driver) {
    return new Combination(
        type, svdRank, svdClamp, svdFullMatrices, driver, density, majoritySign, asPlainLora);
  }

  /** The same with another density. */
  public Combination withDensity(@Nullable Double part) {
    return new Combination(
        type, svdRank, svdClamp, svdFullMatrices, svdDriver, part, majoritySign, asPlainLora);
  }

  /** The same with another election. */
  public Combination withMajoritySign(MajoritySign method) {
    return new Combination(
        type, svdRank, svdClamp, svdFullMatrices, svdDriver, density, method, asPlainLora);
  }

  /** The same with sources of VeLoRA and MonteCLoRA taken as LoRA, or refused. */
  public Combination withAsPlainLora(boolean on) {
    return new Combination(
        type, svdRank, svdClamp, svdFullMatrices, svdDriver, density, majoritySign, on);
  }

  /** What is done with so many sources: one alone is only scaled, whatever was asked. */
  Combination with(int sources) {
    CombinationType effective = sources == 1 ? CombinationType.LINEAR : type;
    var own =
        new Combination(
            effective,
            svdRank,
            svdClamp,
            svdFullMatrices,
            svdDriver,
            density,
            majoritySign,
            asPlainLora);
    own.requireDensity();
    return own;
  }

  private void requireDensity() {
    if (type.pruning() != Pruning.NONE && density == null) {
      throw new ConfigException(
          "%s needs density, the part of the entries that is kept; 0.5 is usual"
              .formatted(type.word()));
    }
    if (type.pruning() == Pruning.RANDOM && part() == 0) {
      throw new ConfigException(
          "density is 0 but %s divides by it; choose one in (0, 1]".formatted(type.word()));
    }
  }

  /** The density, 1 if none is set. */
  double part() {
    return density == null ? 1 : density;
  }

  /** What the user should know about settings that do nothing. */
  List<String> warnings() {
    var warnings = new ArrayList<String>();
    if (type.pruning() == Pruning.NONE && density != null) {
      warnings.add("density is %s but %s prunes nothing".formatted(density, type.word()));
    }
    if (type.pruning() != Pruning.NONE && part() >= 1) {
      warnings.add("density is %s, so nothing is pruned".formatted(density));
    }
    if (type.form() != Form.UPDATE && (svdRank != null || svdClamp != null)) {
      warnings.add("svd_rank and svd_clamp do nothing with %s".formatted(type.word()));
    }
    return warnings;
  }
}
