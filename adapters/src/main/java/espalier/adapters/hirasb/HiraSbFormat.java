package espalier.adapters.hirasb;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.nn.Adapter;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** HiRA-SB in {@code adapter_config.json}; a method of this library, not known to PEFT. */
public final class HiraSbFormat implements AdapterFormat<HiraSbConfig> {

  @Override
  public String peftType() {
    return "HIRA_SB";
  }

  @Override
  public Class<HiraSbConfig> configType() {
    return HiraSbConfig.class;
  }

  @Override
  public HiraSbConfig read(ConfigFields in) {
    return new HiraSbConfig(
        in.head(),
        in.targets(),
        in.integer("r", 32),
        choice(in, "update_target", UpdateTarget.SIGN),
        in.integer("als_sweeps", 2),
        in.integer("calibration_batches", 16),
        in.flag("precondition", false),
        in.number("match_step", 0),
        choice(in, "space", Space.HADAMARD),
        scale(in),
        in.number("hirasb_dropout", 0),
        in.integersByPath("rank_pattern"),
        in.integer("init_seed", 0));
  }

  private static <E extends Enum<E>> E choice(ConfigFields in, String key, E otherwise) {
    String word = in.text(key, word(otherwise));
    List<E> all = Arrays.asList(otherwise.getDeclaringClass().getEnumConstants());
    return all.stream()
        .filter(e -> word(e).equals(word))
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "%s is %s but %s are known"
                        .formatted(key, word, all.stream().map(HiraSbFormat::word).toList())));
  }

  private static String word(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT);
  }

  private static @Nullable Double scale(ConfigFields in) {
    JsonNode node = in.json("scale");
    if (node == null || (node.isString() && node.stringValue().equals("auto"))) {
      return null;
    }
    if (!node.isNumber()) {
      throw new ConfigException("scale is %s but auto or a number is expected".formatted(node));
    }
    return node.doubleValue();
  }

  @Override
  public void write(HiraSbConfig config, ConfigFields out) {
    out.head(peftType(), config.head())
        .targets(config.targets())
        .put("r", config.r())
        .put("update_target", word(config.updateTarget()))
        .put("als_sweeps", config.alsSweeps())
        .put("calibration_batches", config.calibrationBatches())
        .put("precondition", config.precondition())
        .put("match_step", config.matchStep())
        .put("space", word(config.space()))
        .put("hirasb_dropout", config.dropout())
        .put("rank_pattern", config.rankPattern())
        .put("init_seed", config.initSeed());
    Double scale = config.scale();
    if (scale == null) {
      out.put("scale", "auto");
    } else {
      out.put("scale", scale.doubleValue());
    }
  }

  /** R in plain coordinates, whatever it trains in. */
  @Override
  public Map<String, Tensor> saved(Adapter adapter) {
    return adapter instanceof HiraSbLinear linear ? linear.saved() : adapter.state();
  }
}
