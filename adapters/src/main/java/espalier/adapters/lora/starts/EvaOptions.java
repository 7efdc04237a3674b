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
 * @param listener told, a sentence each, how far it is and what it passed over
 */
public record EvaOptions(
    int maxBatches, LayerRows rows, Map<String, LayerRows> rowsOf, Consumer<String> listener) {

  /** Checks and copies. */
  public EvaOptions {
    rowsOf = Map.copyOf(rowsOf);
    if (maxBatches < 1) {
      throw new ConfigException(
          "EVA is to look at %d batches but 1 or more are needed; 200 is the default"
              .formatted(maxBatches));
    }
  }

  /** At most 200 batches, the rows that the batch's mask says, told to nobody. */
  public static EvaOptions defaults() {
    return new EvaOptions(200, LayerRows::masked, Map.of(), _ -> {});
  }

  /** The same with another limit. */
  public EvaOptions withMaxBatches(int batches) {
    return new EvaOptions(batches, rows, rowsOf, listener);
  }

  /** The same with other rows. */
  public EvaOptions withRows(LayerRows choice) {
    return new EvaOptions(maxBatches, choice, rowsOf, listener);
  }

  /** The same with other rows for some layers, by path. */
  public EvaOptions withRowsOf(Map<String, LayerRows> choices) {
    return new EvaOptions(maxBatches, rows, choices, listener);
  }

  /** The same told to somebody. */
  public EvaOptions withListener(Consumer<String> told) {
    return new EvaOptions(maxBatches, rows, rowsOf, told);
  }

  LayerRows rowsAt(String path) {
    return rowsOf.getOrDefault(path, rows);
  }
}
