package espalier.serving;

import espalier.text.StreamDecoder;
import java.util.Arrays;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** One row on its way: the tokens that were chosen for it and the text that they make. */
final class Continuation {

  private final int row;
  private final History history;
  private final Set<Integer> endIds;
  private final StreamDecoder decoder;
  private final StopStrings stops;
  private final StringBuilder text = new StringBuilder();
  private int[] ids = new int[64];
  private int size;
  private @Nullable FinishReason reason;

  /**
   * A row before its first token.
   *
   * @param row its place in the caller's list
   * @param endIds the tokens that end it
   */
  Continuation(int row, History history, Set<Integer> endIds, StreamDecoder decoder) {
    this.row = row;
    this.history = history;
    this.endIds = endIds;
    this.decoder = decoder;
    stops = new StopStrings(history.sampling().stop());
  }

  /**
   * Takes the next token.
   *
   * @return the text that is certain now
   */
  String take(int id) {
    history.add(id);
    if (size == ids.length) {
      ids = Arrays.copyOf(ids, 2 * size);
    }
    ids[size++] = id;
    String piece;
    if (endIds.contains(id)) {
      reason = FinishReason.END; // not decoded: in some vocabularies it is not a special token
      piece = lastPiece();
    } else {
      piece = stops.push(decoder.push(id));
      if (stops.found()) {
        reason = FinishReason.STOP_STRING;
      } else if (size == history.sampling().maxNewTokens()) {
        reason = FinishReason.LENGTH;
        piece += lastPiece();
      }
    }
    text.append(piece);
    return piece;
  }

  private String lastPiece() {
    String piece = stops.push(decoder.finish());
    if (stops.found()) {
      reason = FinishReason.STOP_STRING;
    }
    return piece + stops.finish();
  }

  /** Ends the row where it is. */
  void cancel() {
    reason = FinishReason.CANCELLED;
  }

  boolean finished() {
    return reason != null;
  }

  int row() {
    return row;
  }

  History history() {
    return history;
  }

  /** The token that was chosen last. */
  int last() {
    return ids[size - 1];
  }

  /** How many tokens were chosen. */
  int size() {
    return size;
  }

  Generation generation(int promptTokens, int cachedTokens) {
    if (reason == null) {
      throw new IllegalStateException("row " + row + " has not ended yet");
    }
    return new Generation(
        Arrays.copyOf(ids, size), text.toString(), reason, promptTokens, cachedTokens);
  }
}
