package espalier.adapters.lokr;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.Violations;
import espalier.adapters.lycoris.LycorisAdapter;
import espalier.adapters.lycoris.LycorisSettings;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import java.util.Map;

/**
 * Settings of LoKr.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param settings rank, scaling and dropout
 * @param decomposeBoth whether the left factor is a product of rank r as well, where it is wide
 * @param decomposeFactor upper limit of the left factor's sides, or a divisor to be used as it is;
 *     -1 for sides near the square root
 * @param rankDropoutScale whether output features that stay are raised by as much as the dropped
 *     ones take away
 * @param init how the factors start
 */
public record LokrConfig(
    ConfigHead head,
    Targets targets,
    LycorisSettings settings,
    boolean decomposeBoth,
    int decomposeFactor,
    boolean rankDropoutScale,
    LokrInit init)
    implements AdapterConfig {

  /** Checks the numbers. */
  public LokrConfig {
    settings.check(targets);
    new Violations()
        .unless(
            decomposeFactor == -1 || decomposeFactor >= 1,
            "decompose_factor is %d but 1 or more is needed, or -1 for sides near the square root",
            decomposeFactor)
        .raise();
  }

  /** The method's defaults: r 8, alpha 8, the architecture's usual layers. */
  public static LokrConfig defaults() {
    return new LokrConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        LycorisSettings.defaults(),
        false,
        -1,
        false,
        LokrInit.LEFT_ZERO);
  }

  /** The same config with other settings. */
  public LokrConfig withSettings(LycorisSettings other) {
    return new LokrConfig(
        head, targets, other, decomposeBoth, decomposeFactor, rankDropoutScale, init);
  }

  /** The same config with other sides of the left factor, and with or without a rank for it. */
  public LokrConfig withDecomposition(boolean both, int factor) {
    return new LokrConfig(head, targets, settings, both, factor, rankDropoutScale, init);
  }

  /** The same config with or without raising what rank dropout leaves. */
  public LokrConfig withRankDropoutScale(boolean on) {
    return new LokrConfig(head, targets, settings, decomposeBoth, decomposeFactor, on, init);
  }

  /** The same config with another start. */
  public LokrConfig withInit(LokrInit start) {
    return new LokrConfig(
        head, targets, settings, decomposeBoth, decomposeFactor, rankDropoutScale, start);
  }

  @Override
  public LokrConfig withHead(ConfigHead other) {
    return new LokrConfig(
        other, targets, settings, decomposeBoth, decomposeFactor, rankDropoutScale, init);
  }

  @Override
  public LokrConfig withTargets(Targets other) {
    return new LokrConfig(
        head, other, settings, decomposeBoth, decomposeFactor, rankDropoutScale, init);
  }

  @Override
  public LokrFormat format() {
    return new LokrFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return settings.patterns();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    LycorisAdapter.require(layer, path, "LoKr");
    return new LokrAdapter(this, layer, path, random);
  }
}
