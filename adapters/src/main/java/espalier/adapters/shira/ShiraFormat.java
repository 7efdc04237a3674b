package espalier.adapters.shira;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.Targets;
import espalier.nn.Adapter;
import espalier.nn.Layer;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** SHiRA in {@code adapter_config.json}, field for field as PEFT's ShiraConfig writes it. */
public final class ShiraFormat implements AdapterFormat<ShiraConfig> {

  @Override
  public String peftType() {
    return "SHIRA";
  }

  @Override
  public Class<ShiraConfig> configType() {
    return ShiraConfig.class;
  }

  @Override
  public ShiraConfig read(ConfigFields in) {
    ConfigFields nested = in.nested("mask_options");
    ConfigFields options = nested == null ? ConfigFields.empty() : nested;
    List<String> others = options.textsOrNull("non_overlap_with");
    var config =
        new ShiraConfig(
            in.head(),
            in.targets(),
            in.integer("r", 32),
            ShiraMask.of(in.text("mask_type", "random")),
            seed(in),
            in.flag("init_weights", true),
            options(options),
            others == null ? List.of() : others);
    if (nested != null) {
      in.finish(nested);
    }
    return config;
  }

  private static @Nullable Long seed(ConfigFields in) {
    JsonNode node = in.json("random_seed");
    if (node == null) {
      return null;
    }
    if (!node.isIntegralNumber() || !node.canConvertToLong()) {
      throw new ConfigException(
          "random_seed is %s but a whole number of 64 bits or null is expected".formatted(node));
    }
    return node.longValue();
  }

  private static MaskOptions options(ConfigFields fields) {
    return new MaskOptions(
        fields.integer("calibration_batches", MaskOptions.DEFAULTS.calibrationBatches()),
        fields.flag("per_layer_seed", false),
        fields.integerOrNull("frequency"),
        fields.json("compact") == null ? null : fields.flag("compact", false),
        fields.flag("shira_conv1d", false));
  }

  @Override
  public void write(ShiraConfig config, ConfigWriter out) {
    Long seed = config.randomSeed();
    JsonNode written = seed == null ? null : JsonNodeFactory.instance.numberNode(seed);
    out.head(peftType(), config.head())
        .put("r", config.r())
        .put("mask_type", config.mask().word())
        .put("random_seed", written)
        .put("init_weights", config.zeroStart());
    write(config.targets(), out);
    write(config.options(), out);
  }

  // The reference knows no exclusion and no limit to some blocks: they stand there only where set.
  private static void write(Targets targets, ConfigWriter out) {
    out.put("target_modules", targets.modules())
        .put("modules_to_save", targets.saved())
        .put("fan_in_fan_out", targets.fanInFanOut());
    if (targets.exclude() != null) {
      out.put("exclude_modules", targets.exclude());
    }
    if (targets.layers() != null) {
      out.put("layers_to_transform", targets.layers());
    }
    if (targets.layersPattern() != null) {
      out.put("layers_pattern", targets.layersPattern());
    }
  }

  private static void write(MaskOptions options, ConfigWriter out) {
    if (options.equals(MaskOptions.defaults())) {
      return;
    }
    var nested = ConfigWriter.empty();
    if (options.calibrationBatches() != MaskOptions.DEFAULTS.calibrationBatches()) {
      nested.put("calibration_batches", options.calibrationBatches());
    }
    if (options.perLayerSeed()) {
      nested.put("per_layer_seed", true);
    }
    if (options.frequency() != null) {
      nested.put("frequency", options.frequency());
    }
    if (options.compact() != null) {
      nested.put("compact", options.compact());
    }
    if (options.conv1d()) {
      nested.put("shira_conv1d", true);
    }
    out.putNested("mask_options", nested);
  }

  @Override
  public Set<String> savedNames(Adapter adapter) {
    return ((ShiraLinear) adapter).savedNames();
  }

  @Override
  public Map<String, Tensor> saved(Adapter adapter) {
    return ((ShiraLinear) adapter).saved();
  }

  /** Either form of the entries is found in a file, whichever the config asks for. */
  @Override
  public List<String> alternativeKeys(String path, String prefix, String name) {
    return switch (name) {
      case ShiraLinear.INDICES -> List.of(Layer.join(path, ShiraLinear.GAPS));
      case ShiraLinear.GAPS -> List.of(Layer.join(path, ShiraLinear.INDICES));
      default -> List.of();
    };
  }
}
