package espalier.adapters.lokr;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.lycoris.LycorisSettings;
import tools.jackson.databind.JsonNode;

/** LoKr in {@code adapter_config.json}, field for field as PEFT's LoKrConfig writes it. */
public final class LokrFormat implements AdapterFormat<LokrConfig> {

  private static final String LYCORIS = "lycoris";

  @Override
  public String peftType() {
    return "LOKR";
  }

  @Override
  public Class<LokrConfig> configType() {
    return LokrConfig.class;
  }

  @Override
  public LokrConfig read(ConfigFields in) {
    return new LokrConfig(
        in.head(),
        in.targets(),
        LycorisSettings.read(in),
        in.flag("decompose_both", false),
        in.integer("decompose_factor", -1),
        in.flag("rank_dropout_scale", false),
        init(in));
  }

  private static LokrInit init(ConfigFields in) {
    JsonNode node = in.json("init_weights");
    if (node == null) {
      return in.has("init_weights") ? LokrInit.DRAWN : LokrInit.LEFT_ZERO;
    }
    if (node.isString() && node.stringValue().equals(LYCORIS)) {
      return LokrInit.RIGHT_ZERO;
    }
    if (!node.isBoolean()) {
      throw new ConfigException(
          "init_weights is %s but true, false and lycoris are known".formatted(node));
    }
    return node.booleanValue() ? LokrInit.LEFT_ZERO : LokrInit.DRAWN;
  }

  @Override
  public void write(LokrConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .choice(config.targets())
        .put("decompose_both", config.decomposeBoth())
        .put("decompose_factor", config.decomposeFactor())
        .put("rank_dropout_scale", config.rankDropoutScale());
    config.settings().write(out);
    switch (config.init()) {
      case LEFT_ZERO -> out.put("init_weights", true);
      case RIGHT_ZERO -> out.put("init_weights", LYCORIS);
      case DRAWN -> out.put("init_weights", false);
    }
  }
}
