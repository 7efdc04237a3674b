package espalier.adapters.miss;

import espalier.adapters.AdapterFormat;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import tools.jackson.databind.JsonNode;

/** MiSS in {@code adapter_config.json}, field for field as PEFT's MissConfig writes it. */
public final class MissFormat implements AdapterFormat<MissConfig> {

  @Override
  public String peftType() {
    return "MISS";
  }

  @Override
  public Class<MissConfig> configType() {
    return MissConfig.class;
  }

  @Override
  public MissConfig read(ConfigFields in) {
    return new MissConfig(
        in.head(),
        in.targets(),
        in.integer("r", 64),
        in.number("miss_dropout", 0),
        in.integer("mini_r", 1),
        form(in),
        BiasTraining.of(in, "MiSS_only"));
  }

  private static MissForm form(ConfigFields in) {
    JsonNode node = in.json("init_weights");
    if (node == null) {
      return in.has("init_weights") ? MissForm.DRAWN : MissForm.BALANCED;
    }
    if (node.isBoolean()) {
      return node.booleanValue() ? MissForm.BALANCED : MissForm.DRAWN;
    }
    return switch (node.isString() ? node.stringValue() : "") {
      case "bat" -> MissForm.BAT;
      case "mini" -> MissForm.MINI;
      default ->
          throw new ConfigException(
              "init_weights is %s but true, false, bat and mini are known".formatted(node));
    };
  }

  @Override
  public void write(MissConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .choice(config.targets())
        .put("r", config.r())
        .put("miss_dropout", config.dropout())
        .put("mini_r", config.miniR())
        .put("bias", config.bias().word("MiSS_only"));
    switch (config.form()) {
      case BALANCED -> out.put("init_weights", true);
      case DRAWN -> out.put("init_weights", false);
      case MINI -> out.put("init_weights", "mini");
      case BAT -> out.put("init_weights", "bat");
    }
  }
}
