package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Writes a model that came in any form as a folder. */
@Command(
    name = "convert",
    description = "Write a GGUF file, or any other model, as a folder that Transformers loads.")
final class ConvertCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(
      paramLabel = "MODEL",
      description = "FILE.gguf, a model folder, hub:org/name[@revision], or pip:package==version")
  private String model = "";

  @Option(
      names = {"-o", "--out"},
      required = true,
      paramLabel = "DIR",
      description = "The new folder; it must be empty, or not there yet")
  private Path out = Path.of("");

  @Option(
      names = "--dtype",
      converter = DtypeConverter.class,
      completionCandidates = DtypeConverter.class,
      paramLabel = "DTYPE",
      defaultValue = "bf16",
      description = "Dtype of the result: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE})")
  private BaseDtype dtype = BaseDtype.BF16;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    FreshFolder.require(out);
    // A GGUF file's blocks become f32 or bf16; f16 is rounded from f32, so that it is rounded once.
    BaseDtype read = dtype == BaseDtype.F16 ? BaseDtype.F32 : dtype;
    try (var loaded = PretrainedModel.load(model, read.type(), output::note)) {
      loaded.save(out, dtype.type());
    }
    output.line("model: " + out);
    return 0;
  }
}
