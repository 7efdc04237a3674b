package espalier.adapters.loha;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.lycoris.LycorisAdapter;
import espalier.adapters.lycoris.LycorisSettings;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import java.util.Map;

/**
 * Settings of LoHa.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param settings rank, scaling and dropout
 * @param initWeights whether a new adapter changes nothing; otherwise all factors are drawn
 */
public record LohaConfig(
    ConfigHead head, Targets targets, LycorisSettings settings, boolean initWeights)
    implements AdapterConfig {

  /** Checks the numbers. */
  public LohaConfig {
    settings.check(targets);
  }

  /** The method's defaults: r 8, alpha 8, the architecture's usual layers. */
  public static LohaConfig defaults() {
    return new LohaConfig(
        ConfigHead.empty(), Targets.byArchitecture(), LycorisSettings.defaults(), true);
  }

  /** The same config with other settings. */
  public LohaConfig withSettings(LycorisSettings other) {
    return new LohaConfig(head, targets, other, initWeights);
  }

  /** The same config with another start. */
  public LohaConfig withInitWeights(boolean on) {
    return new LohaConfig(head, targets, settings, on);
  }

  @Override
  public LohaConfig withHead(ConfigHead other) {
    return new LohaConfig(other, targets, settings, initWeights);
  }

  @Override
  public LohaConfig withTargets(Targets other) {
    return new LohaConfig(head, other, settings, initWeights);
  }

  @Override
  public LohaFormat format() {
    return new LohaFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return settings.patterns();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    LycorisAdapter.require(layer, path, "LoHa");
    return new LohaAdapter(this, layer, path, init);
  }
}
