package espalier.training;

import espalier.text.Example;
import tools.jackson.databind.JsonNode;

/** Reads rows that already are tokens. */
final class TokensParser {

  private TokensParser() {}

  static TokensRow parse(Fields fields) {
    RowSource source = fields.source();
    String column = fields.list("input_ids") == null ? "tokens" : "input_ids";
    JsonNode list = fields.list(column);
    if (list == null || list.isEmpty()) {
      throw new DataException(
          "%s has no input_ids; expected a list of token ids, and the row has %s"
              .formatted(source, list == null ? fields.present() : "an empty list"));
    }
    int[] ids = integers(list, column, source, 0);
    JsonNode mask = fields.list("attention_mask");
    if (mask != null) {
      refusePadding(integers(mask, "attention_mask", source, 0), source);
    }
    JsonNode labels = fields.list("labels");
    return new TokensRow(ids, labels == null ? null : labels(labels, ids, source), source);
  }

  private static int[] labels(JsonNode list, int[] ids, RowSource source) {
    int[] labels = integers(list, "labels", source, Example.IGNORED);
    if (labels.length != ids.length) {
      throw new DataException(
          "%s has %d labels for %d ids, but one for each is expected; use -100 where nothing is learned"
              .formatted(source, labels.length, ids.length));
    }
    for (int i = 0; i < ids.length; i++) {
      if (labels[i] != ids[i] && labels[i] != Example.IGNORED) {
        throw new DataException(
            "%s has the label %d at place %d where the id is %d, but a label is the id at its own place (not shifted) or -100"
                .formatted(source, labels[i], i, ids[i]));
      }
    }
    return labels;
  }

  private static int[] integers(JsonNode list, String column, RowSource source, int lowest) {
    int[] values = new int[list.size()];
    for (int i = 0; i < values.length; i++) {
      JsonNode value = list.get(i);
      if (!value.isIntegralNumber() || !value.canConvertToInt() || value.intValue() < lowest) {
        throw new DataException(
            "%s has %s at place %d of %s, but whole numbers from %d on are expected"
                .formatted(source, Fields.describe(value), i, column, lowest));
      }
      values[i] = value.intValue();
    }
    return values;
  }

  /** Padding would be learned as text. */
  private static void refusePadding(int[] mask, RowSource source) {
    for (int one : mask) {
      if (one == 0) {
        throw new DataException(
            "%s has padding (a 0 in attention_mask), but rows are expected without; give the ids that count"
                .formatted(source));
      }
    }
  }
}
