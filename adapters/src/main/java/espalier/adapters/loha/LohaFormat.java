package espalier.adapters.loha;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.lycoris.LycorisSettings;

/** LoHa in {@code adapter_config.json}, field for field as PEFT's LoHaConfig writes it. */
public final class LohaFormat implements AdapterFormat<LohaConfig> {

  @Override
  public String peftType() {
    return "LOHA";
  }

  @Override
  public Class<LohaConfig> configType() {
    return LohaConfig.class;
  }

  @Override
  public LohaConfig read(ConfigFields in) {
    return new LohaConfig(
        in.head(), in.targets(), LycorisSettings.read(in), in.flag("init_weights", true));
  }

  @Override
  public void write(LohaConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .choice(config.targets())
        .put("init_weights", config.initWeights());
    config.settings().write(out);
  }
}
