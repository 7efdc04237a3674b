package espalier.adapters.abba;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigHead;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;

/**
 * Settings of ABBA.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r1 rank of the first pair, which starts as the best approximation of the weight
 * @param r2 rank of the second pair, which starts at zero; the update may have rank r1·r2
 * @param alpha1 the first pair is scaled by its square root
 * @param alpha2 the second pair is scaled by its square root
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1]
 */
public record AbbaConfig(
    ConfigHead head, Targets targets, int r1, int r2, double alpha1, double alpha2, double dropout)
    implements AdapterConfig {

  /** Checks the numbers. */
  public AbbaConfig {
    var wrong = new Violations();
    rank(wrong, "r1", r1);
    rank(wrong, "r2", r2);
    alpha(wrong, "alpha1", alpha1);
    alpha(wrong, "alpha2", alpha2);
    wrong
        .unless( // written so that NaN is refused too
            dropout >= 0 && dropout <= 1,
            "abba_dropout is %s but must lie in [0, 1]; 0 turns it off",
            dropout)
        .raise();
  }

  private static void rank(Violations wrong, String field, int rank) {
    wrong.unless(rank >= 1, "%s is %d but a rank is 1 or more; 16 is the default", field, rank);
  }

  private static void alpha(Violations wrong, String field, double alpha) {
    wrong.unless(
        alpha > 0 && alpha < Double.POSITIVE_INFINITY,
        "%s is %s but a finite number above 0 is needed; 16 is the default",
        field,
        alpha);
  }

  /** r1 and r2 16, alpha1 and alpha2 16, no dropout, the architecture's usual layers. */
  public static AbbaConfig defaults() {
    return new AbbaConfig(ConfigHead.empty(), Targets.byArchitecture(), 16, 16, 16, 16, 0);
  }

  /** The same config with other ranks. */
  public AbbaConfig withRanks(int first, int second) {
    return new AbbaConfig(head, targets, first, second, alpha1, alpha2, dropout);
  }

  /** The same config with other alphas. */
  public AbbaConfig withAlphas(double first, double second) {
    return new AbbaConfig(head, targets, r1, r2, first, second, dropout);
  }

  /** The same config with another dropout. */
  public AbbaConfig withDropout(double probability) {
    return new AbbaConfig(head, targets, r1, r2, alpha1, alpha2, probability);
  }

  @Override
  public AbbaConfig withHead(ConfigHead other) {
    return new AbbaConfig(other, targets, r1, r2, alpha1, alpha2, dropout);
  }

  @Override
  public AbbaConfig withTargets(Targets other) {
    return new AbbaConfig(head, other, r1, r2, alpha1, alpha2, dropout);
  }

  @Override
  public AbbaFormat format() {
    return new AbbaFormat();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    if (!(layer instanceof Linear linear)) {
      throw new UnsupportedAdapterException(
          "%s is a %s but ABBA adapts Linear and Conv1D; take it out of target_modules"
              .formatted(path, layer.typeName()));
    }
    return new AbbaLinear(this, linear, random);
  }
}
