package espalier.adapters.abba;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;

/** ABBA in {@code adapter_config.json}. PEFT has no such method, so the names are ours. */
public final class AbbaFormat implements AdapterFormat<AbbaConfig> {

  @Override
  public String peftType() {
    return "ABBA";
  }

  @Override
  public Class<AbbaConfig> configType() {
    return AbbaConfig.class;
  }

  @Override
  public AbbaConfig read(ConfigFields in) {
    return new AbbaConfig(
        in.head(),
        in.targets(),
        in.integer("r1", 16),
        in.integer("r2", 16),
        in.number("alpha1", 16),
        in.number("alpha2", 16),
        in.number("abba_dropout", 0));
  }

  @Override
  public void write(AbbaConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .targets(config.targets())
        .put("r1", config.r1())
        .put("r2", config.r2())
        .putNumber("alpha1", config.alpha1())
        .putNumber("alpha2", config.alpha2())
        .put("abba_dropout", config.dropout());
  }
}
