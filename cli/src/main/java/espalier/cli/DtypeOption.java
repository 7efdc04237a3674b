package espalier.cli;

import espalier.recipes.BaseDtype;
import picocli.CommandLine.Option;

/** The dtype of commands whose result is a matter of accuracy. */
final class DtypeOption {

  @Option(
      names = "--dtype",
      converter = DtypeConverter.class,
      completionCandidates = DtypeConverter.class,
      paramLabel = "DTYPE",
      defaultValue = "f32",
      description = "Dtype of the model: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE})")
  private BaseDtype dtype = BaseDtype.F32;

  BaseDtype dtype() {
    return dtype;
  }
}
