package espalier.adapters.lora.starts;

import espalier.adapters.ConfigException;
import java.util.Map;
import java.util.function.Consumer;

/**
 * How EVA goes about its data.
 *
 * @param maxBatches batches after which it takes the components as they are, also where they have
 *     not converged
 * @param rows which rows of a layer's input count
 * @param rowsOf the same for some layers, by path
 * @param progress told after each batch how far it is, a sentence
 * @param warnings told what a person should know, a sentence each
 */
public record EvaOptions(
    int maxBatches,
    LayerRows rows,
    Map<String, LayerRows> rowsOf,
    Consumer<String> progress,
    Consumer<String> warnings) {

  private static final System.Logger LOG = System.getLogger("espalier.adapters");

  /** Checks and copies. */
  public EvaOptions {
    rowsOf = Map.copyOf(rowsOf);
    if (maxBatches < 1) {
      throw new ConfigException(
          "EVA is to look at %d batches but 1 or more are needed; 200 is the default"
              .formatted(maxBatches));
    }
  }

  /** At most 200 batches, the rows that the batch's mask says, warnings to the log. */
  public static EvaOptions defaults() {
    return new EvaOptions(
        200,
        LayerRows::masked,
        Map.of(),
        _ -> {},
        warning -> LOG.log(System.Logger.Level.WARNING, warning));
  }

  /** The same with another limit. */
  public EvaOptions withMaxBatches(int batches) {
    return new EvaOptions(batches, rows, rowsOf, progress, warnings);
  }

  /** The same with other rows. */
  public EvaOptions withRows(LayerRows choice) {
    return new EvaOptions(maxBatches, choice, rowsOf, progress, warnings);
  }

  /** The same with other rows for some layers, by path. */
  public EvaOptions withRowsOf(Map<String, LayerRows> choices) {
    return new EvaOptions(maxBatches, rows, choices, progress, warnings);
  }

  /** The same with somebody who is told how far it is. */
  public EvaOptions withProgress(Consumer<String> told) {
    return new EvaOptions(maxBatches, rows, rowsOf, told, warnings);
  }

  /** The same with warnings to somebody else. */
  public EvaOptions withWarnings(Consumer<String> told) {
    return new EvaOptions(maxBatches, rows, rowsOf, progress, told);
  }

  LayerRows rowsAt(String path) {
    return rowsOf.getOrDefault(path, rows);
  }
}
