package espalier.parity;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hira.HiraFormat;

/** HiRA with the slips of the reference, which the numbers to compare with have. */
final class ReferenceHira implements AdapterFormat<HiraConfig> {

  private final HiraFormat format = new HiraFormat();

  @Override
  public String peftType() {
    return format.peftType();
  }

  @Override
  public Class<HiraConfig> configType() {
    return format.configType();
  }

  @Override
  public HiraConfig read(ConfigFields in) {
    return format.read(in).withLikeReference(true);
  }

  @Override
  public void write(HiraConfig config, ConfigWriter out) {
    format.write(config, out);
  }
}
