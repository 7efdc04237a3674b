package espalier.adapters.hirasb;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.nn.Adapter;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
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
        choice(in, "space", Space.HADAMARD),
        scale(in),
        in.flag("precondition", false),
        in.number("hirasb_dropout", 0),
        in.integersByPath("rank_pattern"),
        new StartSettings(
            choice(in, "update_target", UpdateTarget.SIGN),
            in.integer("als_sweeps", 2),
            in.integer("calibration_batches", 16),
            in.number("match_step", 0),
            in.integer("init_seed", 0),
            choice(in, "basis_dtype", BasisDtype.FLOAT32),
            memory(in)));
  }

  private static long memory(ConfigFields in) {
    double bytes = in.number("init_memory", 0);
    if (bytes != Math.rint(bytes)) { // NaN too
      throw new ConfigException(
          "init_memory is %s but a whole number of bytes is expected".formatted(bytes));
    }
    return (long) bytes;
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
  public void write(HiraSbConfig config, ConfigWriter out) {
    StartSettings start = config.start();
    out.head(peftType(), config.head())
        .targets(config.targets())
        .put("r", config.r())
        .put("update_target", word(start.updateTarget()))
        .put("als_sweeps", start.alsSweeps())
        .put("calibration_batches", start.calibrationBatches())
        .put("precondition", config.precondition())
        .put("match_step", start.matchStep())
        .put("space", word(config.space()))
        .put("hirasb_dropout", config.dropout())
        .put("rank_pattern", config.rankPattern())
        .put("init_seed", start.seed());
    if (start.basisDtype() != BasisDtype.FLOAT32) {
      out.put("basis_dtype", word(start.basisDtype()));
    }
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
    return adapter instanceof HiraSbAdapter own ? own.saved() : adapter.state();
  }

  @Override
  public Set<String> savedNames(Adapter adapter) {
    return adapter.state().keySet(); // asking for the values would solve for R
  }
}
