package espalier.cli;

import espalier.recipes.Quantize;
import picocli.CommandLine.Option;

/** How a command holds the weights of its model. */
final class QuantizeOption {

  @Option(
      names = "--quantize",
      converter = QuantizeConverter.class,
      completionCandidates = QuantizeConverter.class,
      paramLabel = "FORM",
      defaultValue = "none",
      description =
          "How the weights of linear layers are held: ${COMPLETION-CANDIDATES}; keep is a GGUF"
              + " file's own blocks, or a folder's weights in float8 (default ${DEFAULT-VALUE})")
  private Quantize form = Quantize.NONE;

  Quantize form() {
    return form;
  }
}
