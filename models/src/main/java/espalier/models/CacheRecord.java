package espalier.models;

import espalier.nn.TokenIds;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which tokens a cache holds, and who wrote each: keys and values of one adapter mean nothing to
 * another.
 */
final class CacheRecord {

  /** Stands where nobody wrote: at the left of a row that was moved to the right. */
  private static final int NOBODY = -1;

  /**
   * One row. What lies behind the cache's length is forgotten.
   *
   * @param searched how many tokens are searched for what adapters wait for
   */
  @SuppressWarnings("ArrayRecordComponent") // written in place, and compared by nobody
  private record Row(long[] ids, int[] voices, int searched) {

    Row copy() {
      return new Row(ids.clone(), voices.clone(), searched);
    }
  }

  private final List<Row> rows = new ArrayList<>();
  private final List<Voice> known = new ArrayList<>(); // what the numbers in voices mean
  private boolean beams; // whether some rows were one row before

  private int number(Voice voice) {
    int number = known.indexOf(voice);
    if (number < 0) {
      known.add(voice);
      number = known.size() - 1;
    }
    return number;
  }

  /** The rows of the cache with new tokens [B][T] after them. */
  TokenIds followedBy(long[][] ids, int past) {
    var all = new long[ids.length][];
    var searched = new int[ids.length];
    for (int row = 0; row < ids.length; row++) {
      all[row] = new long[past + ids[row].length];
      searched[row] = all[row].length;
      if (row < rows.size()) {
        System.arraycopy(rows.get(row).ids(), 0, all[row], 0, past);
        searched[row] = rows.get(row).searched();
      }
      System.arraycopy(ids[row], 0, all[row], past, ids[row].length);
    }
    TokenIds tokens = TokenIds.of(all, searched);
    return beams ? tokens.asBeams() : tokens;
  }

  /** Says how many tokens of each row are searched. */
  void search(int tokens) {
    rows.replaceAll(row -> new Row(row.ids(), row.voices(), tokens));
  }

  /**
   * How many of the first {@code past} positions of a row were written by what acts there now.
   *
   * @param total length of the row with the tokens that follow
   */
  int agreeing(int row, int past, int total, Voices voices, @Nullable TokenIds ids) {
    if (row >= rows.size()) {
      return past;
    }
    int[] written = rows.get(row).voices();
    boolean varies = voices.waiting(row);
    int expected = number(voices.at(row, total, ids));
    for (int i = 0; i < past; i++) {
      if (written[i] == NOBODY) {
        continue;
      }
      if (varies) {
        expected = number(voices.at(row, (long) total - i, ids));
      }
      if (written[i] != expected) {
        return i;
      }
    }
    return past;
  }

  /** How many of the first tokens of row 0 are those of a text. */
  int common(long[] text, int length) {
    if (rows.isEmpty()) {
      return 0;
    }
    int end = Math.min(length, text.length);
    int mismatch = Arrays.mismatch(rows.getFirst().ids(), 0, end, text, 0, end);
    return mismatch < 0 ? end : mismatch;
  }

  /** Notes tokens that were written after the first {@code past} of each row. */
  void add(long[][] ids, int past, Voices voices, @Nullable TokenIds known) {
    while (rows.size() < ids.length) {
      rows.add(new Row(new long[0], new int[0], Integer.MAX_VALUE));
    }
    for (int row = 0; row < ids.length; row++) {
      int time = ids[row].length;
      Row own = grown(rows.get(row), past, past + time);
      rows.set(row, own);
      System.arraycopy(ids[row], 0, own.ids(), past, time);
      boolean varies = voices.waiting(row);
      int voice = number(voices.at(row, time, known));
      for (int i = 0; i < time; i++) {
        own.voices()[past + i] = varies ? number(voices.at(row, (long) time - i, known)) : voice;
      }
    }
  }

  private static Row grown(Row row, int past, int needed) {
    if (row.ids().length >= needed) {
      return row;
    }
    int before = Math.min(past, row.ids().length);
    int room = Math.max(needed, 2 * row.ids().length);
    int[] voices = Arrays.copyOf(row.voices(), room);
    Arrays.fill(voices, before, room, NOBODY);
    return new Row(Arrays.copyOf(row.ids(), room), voices, row.searched());
  }

  /** Who wrote a position, or null where nobody did. */
  @Nullable Voice voice(int row, int position) {
    if (row >= rows.size() || position >= rows.get(row).voices().length) {
      return null;
    }
    int number = rows.get(row).voices()[position];
    return number == NOBODY ? null : known.get(number);
  }

  int rows() {
    return rows.size();
  }

  /** A record of its own of these rows; the same row may stand in it more than once. */
  CacheRecord selected(long... chosen) {
    var copy = new CacheRecord();
    copy.known.addAll(known);
    copy.beams = beams || Arrays.stream(chosen).distinct().count() < chosen.length;
    for (long row : chosen) {
      if (row < rows.size()) {
        copy.rows.add(rows.get((int) row).copy());
      }
    }
    return copy;
  }

  CacheRecord copy() {
    long[] all = new long[rows.size()];
    Arrays.setAll(all, row -> row);
    return selected(all);
  }

  /** Takes over the rows of another record, moved to the right to a new length. */
  void append(CacheRecord other, int filled, int length) {
    beams |= other.beams;
    for (Row row : other.rows) {
      long[] ids = new long[length];
      int[] voices = new int[length];
      Arrays.fill(ids, -1); // no token, so that nothing is found there
      Arrays.fill(voices, NOBODY);
      int moved = length - filled;
      System.arraycopy(row.ids(), 0, ids, moved, filled);
      for (int i = 0; i < filled; i++) {
        int voice = row.voices()[i];
        voices[moved + i] = voice == NOBODY ? NOBODY : number(other.known.get(voice));
      }
      int searched = row.searched();
      rows.add(new Row(ids, voices, searched > filled ? searched : searched + moved));
    }
  }
}
