package espalier.adapters.oft;

import espalier.adapters.AdapterFormat;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;

/** OFT in {@code adapter_config.json}, field for field as PEFT's OFTConfig writes it. */
public final class OftFormat implements AdapterFormat<OftConfig> {

  @Override
  public String peftType() {
    return "OFT";
  }

  @Override
  public Class<OftConfig> configType() {
    return OftConfig.class;
  }

  @Override
  public OftConfig read(ConfigFields in) {
    int r = in.integer("r", 0);
    if (r != 0 && !in.has("oft_block_size")) {
      throw new ConfigException(
          "r is %d and oft_block_size is missing, as in files of PEFT before 0.14, whose OFT computes something else; train the adapter again, or write oft_block_size 0 if this is a new one"
              .formatted(r));
    }
    String version = in.text("peft_version", "");
    if (in.has("use_cayley_neumann") && version.matches("0\\.(\\d|1[0-7])\\..*")) {
      in.warn(
          "the file is of PEFT %s, whose use_cayley_neumann of before 0.18 made other rotations; train the adapter again"
              .formatted(version));
    }
    return new OftConfig(
        in.head(),
        in.targets(),
        r,
        in.integer("oft_block_size", 32),
        in.number("module_dropout", 0),
        BiasTraining.of(in, "oft_only"),
        in.flag("init_weights", true),
        new OftConfig.Constraint(in.flag("coft", false), in.number("eps", 6e-5)),
        in.flag("block_share", false),
        new Cayley(in.flag("use_cayley_neumann", true), in.integer("num_cayley_neumann_terms", 5)));
  }

  @Override
  public void write(OftConfig config, ConfigWriter out) {
    out.head(peftType(), config.head())
        .targets(config.targets())
        .put("r", config.r())
        .put("oft_block_size", config.blockSize())
        .put("module_dropout", config.moduleDropout())
        .put("bias", config.bias().word("oft_only"))
        .put("init_weights", config.initWeights())
        .put("coft", config.constraint().on())
        .put("eps", config.constraint().eps())
        .put("block_share", config.blockShare())
        .put("use_cayley_neumann", config.cayley().neumann())
        .put("num_cayley_neumann_terms", config.cayley().terms());
  }
}
