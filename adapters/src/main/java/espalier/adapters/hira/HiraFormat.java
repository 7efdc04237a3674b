package espalier.adapters.hira;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.ExpertKeys;
import espalier.adapters.Targets;
import espalier.nn.Adaptable;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/** HiRA in {@code adapter_config.json}, field for field as PEFT's HiraConfig writes it. */
public final class HiraFormat implements AdapterFormat<HiraConfig> {

  @Override
  public String peftType() {
    return "HIRA";
  }

  @Override
  public Class<HiraConfig> configType() {
    return HiraConfig.class;
  }

  @Override
  public HiraConfig read(ConfigFields in) {
    Targets targets = in.targets().withParameters(in.textsOrNull("target_parameters"));
    return new HiraConfig(
        in.head(),
        targets,
        in.integer("r", 32),
        in.number("hira_dropout", 0),
        init(in),
        in.integersByPath("rank_pattern"),
        in.integer("hira_blocks", 1),
        false);
  }

  @Override
  public Map<String, String> keyPrefixes(Map<String, Adaptable> layers) {
    return ExpertKeys.prefixes(layers);
  }

  private static HiraInit init(ConfigFields in) {
    JsonNode node = in.json("init_weights");
    if (node == null) {
      return in.has("init_weights") ? HiraInit.UNSET : HiraInit.UNIFORM;
    }
    if (node.isString() && node.stringValue().equalsIgnoreCase("gaussian")) {
      return HiraInit.GAUSSIAN;
    }
    if (!node.isBoolean()) {
      throw new ConfigException(
          "init_weights is %s but true, false and gaussian are known".formatted(node));
    }
    return node.booleanValue() ? HiraInit.UNIFORM : HiraInit.UNSET;
  }

  @Override
  public void write(HiraConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .targets(config.targets())
        .put("r", config.r())
        .put("hira_dropout", config.dropout())
        .put("rank_pattern", config.rankPattern());
    if (config.blocks() != 1) { // the reference stumbles over a field that it does not know
      out.put("hira_blocks", config.blocks());
    }
    if (config.targets().parameters() != null) { // nor does it know experts
      out.put("target_parameters", config.targets().parameters());
    }
    switch (config.init()) {
      case UNIFORM -> out.put("init_weights", true);
      case UNSET -> out.put("init_weights", false);
      case GAUSSIAN -> out.put("init_weights", "gaussian");
    }
  }
}
