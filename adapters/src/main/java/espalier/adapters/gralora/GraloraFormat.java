package espalier.adapters.gralora;

import espalier.adapters.AdapterFormat;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.Targets;

/** GraLoRA in {@code adapter_config.json}, field for field as PEFT's GraloraConfig writes it. */
public final class GraloraFormat implements AdapterFormat<GraloraConfig> {

  @Override
  public String peftType() {
    return "GRALORA";
  }

  @Override
  public Class<GraloraConfig> configType() {
    return GraloraConfig.class;
  }

  @Override
  public GraloraConfig read(ConfigFields in) {
    Targets targets = in.targets();
    return new GraloraConfig(
        in.head(),
        targets,
        in.integer("r", 32),
        in.integer("hybrid_r", 0),
        in.integer("gralora_k", 2),
        in.number("alpha", 64),
        in.number("gralora_dropout", 0),
        BiasTraining.of(in, "gralora_only"),
        in.flag("init_weights", true),
        in.integersByPath("rank_pattern"));
  }

  @Override
  public void write(GraloraConfig config, ConfigWriter out) {
    Targets targets = config.targets();
    out.head(peftType(), config.head())
        .put("target_modules", targets.modules())
        .put("layers_to_transform", targets.layers())
        .put("layers_pattern", targets.layersPattern())
        .put("modules_to_save", targets.saved())
        .put("fan_in_fan_out", targets.fanInFanOut())
        .put("r", config.r())
        .put("hybrid_r", config.hybridR())
        .put("gralora_k", config.k())
        .putNumber("alpha", config.alpha())
        .put("gralora_dropout", config.dropout())
        .put("bias", config.bias().word("gralora_only"))
        .put("init_weights", config.neutral());
    // The reference stumbles over fields that it does not know, so these stand only where used.
    if (targets.exclude() != null) {
      out.put("exclude_modules", targets.exclude());
    }
    if (!config.rankPattern().isEmpty()) {
      out.put("rank_pattern", config.rankPattern());
    }
  }
}
