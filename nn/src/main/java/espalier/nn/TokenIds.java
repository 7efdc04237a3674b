package espalier.nn;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of the forward that runs, for adapters that act only from the last occurrence of a
 * sequence of tokens on. A model says them by a scoped value, and only where such an adapter is in
 * force; each sequence is looked for once a forward.
 *
 * <p>A caller who knows better where the adapters begin says so himself:
 *
 * <pre>{@code
 * TokenIds.offsets(3, 0).during(() -> model.logits(inputs));   // row 0: the last 3, row 1: none
 * }</pre>
 */
public final class TokenIds {

  private static final ScopedValue<TokenIds> CURRENT = ScopedValue.newInstance();

  /** Whether an adapter acts at a position, which is counted from the row's end: 1 is the last. */
  private interface Where {
    boolean acts(int row, long fromEnd);
  }

  /** What looking for a sequence gave, and how many rows or examples do not hold it. */
  private record Found(Where where, int missing) {}

  /** How to look, and what was found: shared by all selections of rows. */
  private record Search(
      Function<List<Integer>, Found> look, Map<List<Integer>, Found> found, boolean beams) {}

  private final Search search;
  private final int[] rows; // which of the batch's

  private TokenIds(Search search, int[] rows) {
    this.search = search;
    this.rows = rows;
  }

  /** Whole rows, in each of which the last occurrence counts. */
  public static TokenIds of(long[][] ids) {
    return of(ids, Arrays.stream(ids).mapToInt(row -> row.length).toArray());
  }

  /**
   * Whole rows, those in a cache included.
   *
   * @param ids the tokens of each row
   * @param searched how many tokens of each row are searched; a sequence that ends later does not
   *     count
   */
  public static TokenIds of(long[][] ids, int[] searched) {
    return whole(
        ids.length,
        sequence -> {
          long[] offsets = new long[ids.length];
          for (int row = 0; row < ids.length; row++) {
            int end = Math.min(searched[row], ids[row].length);
            int start = last(ids[row], 0, end, sequence);
            offsets[row] = start < 0 ? 0 : ids[row].length - start;
          }
          long without = Arrays.stream(offsets).filter(offset -> offset == 0).count();
          return new Found((row, fromEnd) -> fromEnd <= offsets[row], (int) without);
        });
  }

  /**
   * Rows that hold several examples, in each of which the last occurrence counts.
   *
   * @param ids the tokens of each row
   * @param reach of each token the end of its example, 0 at padding
   * @throws IllegalArgumentException if examples share tokens, which may lie before the sequence in
   *     one of them and after it in another
   */
  public static TokenIds packed(long[][] ids, long[][] reach) {
    for (long[] row : reach) {
      requireWhole(row);
    }
    return whole(
        ids.length,
        sequence -> {
          var acts = new boolean[ids.length][];
          int without = 0;
          for (int row = 0; row < ids.length; row++) {
            acts[row] = new boolean[reach[row].length];
            for (int from = 0; from < reach[row].length; ) {
              if (reach[row][from] == 0) {
                from++;
                continue;
              }
              int to = (int) reach[row][from];
              int start = last(ids[row], from, to, sequence);
              if (start >= 0) {
                Arrays.fill(acts[row], start, to, true);
              } else {
                without++;
              }
              from = to;
            }
          }
          return new Found((row, fromEnd) -> acts[row][acts[row].length - (int) fromEnd], without);
        });
  }

  private static void requireWhole(long[] reach) {
    for (int from = 0; from < reach.length; from++) {
      if (reach[from] != 0 && from + 1 < reach[from] && reach[from + 1] != reach[from]) {
        throw new IllegalArgumentException(
            "token %d of a packed row reaches to %d and the one after it to %d, so examples share tokens, but an adapter that waits for tokens needs each example whole; pack without sharing"
                .formatted(from, reach[from], reach[from + 1]));
      }
    }
  }

  /**
   * Says for each row how many of its last positions the adapters act on, whatever its tokens; 0
   * turns them off. Counted from the end of the row as it is in the forward that follows.
   */
  public static TokenIds offsets(long... fromEnd) {
    long[] offsets = fromEnd.clone();
    return whole(offsets.length, _ -> new Found((row, position) -> position <= offsets[row], 0));
  }

  private static TokenIds whole(int rows, Function<List<Integer>, Found> look) {
    return new TokenIds(
        new Search(look, new HashMap<>(), false), IntStream.range(0, rows).toArray());
  }

  /** Start of the last occurrence within [from, to), or -1. */
  private static int last(long[] ids, int from, int to, List<Integer> sequence) {
    for (int start = to - sequence.size(); start >= from; start--) {
      int i = 0;
      while (i < sequence.size() && ids[start + i] == sequence.get(i)) {
        i++;
      }
      if (i == sequence.size()) {
        return start;
      }
    }
    return -1;
  }

  /** The same rows, of which some continue one and the same text, as beam search has them. */
  public TokenIds asBeams() {
    return new TokenIds(new Search(search.look(), search.found(), true), rows);
  }

  /** Whether some rows continue one and the same text, as beam search has them. */
  public boolean beams() {
    return search.beams();
  }

  /** Whether both were said for one forward. */
  @SuppressWarnings("ReferenceEquality") // two forwards over equal tokens are two
  public boolean sameForward(TokenIds other) {
    return search.found() == other.search.found();
  }

  /** The tokens of the forward that runs, or null where nobody said them. */
  public static @Nullable TokenIds current() {
    return CURRENT.isBound() ? CURRENT.get() : null;
  }

  /** Runs a forward, or a part of one, over these tokens. */
  public <T> T during(Supplier<T> body) {
    return ScopedValue.where(CURRENT, this).call(body::get);
  }

  /** Runs {@code body} over some rows of the batch, for which the answers here are then. */
  static <T> T forRows(long[] chosen, Supplier<T> body) {
    TokenIds all = current();
    if (all == null) {
      return body.get();
    }
    int[] rows = Arrays.stream(chosen).mapToInt(row -> all.rows[(int) row]).toArray();
    return new TokenIds(all.search, rows).during(body);
  }

  private Found found(List<Integer> sequence) {
    return search.found().computeIfAbsent(sequence, search.look());
  }

  /**
   * Whether an adapter that waits for {@code sequence} acts at a position.
   *
   * @param fromEnd the position counted from the row's end; 1 is the last
   */
  public boolean acts(List<Integer> sequence, int row, long fromEnd) {
    return found(sequence).where().acts(rows[row], fromEnd);
  }

  /**
   * The positions at which an adapter acts that waits for {@code sequence}, among the newest of
   * each row.
   *
   * @param batch rows of the layer's input
   * @param time positions a row of the layer's input
   * @return flat positions, row * time + t, ascending
   */
  public long[] positions(List<Integer> sequence, long batch, long time) {
    if (batch != rows.length) {
      throw new IllegalStateException(
          "a layer has an input of %d rows but the forward has %d; an adapter that waits for tokens needs to know which row is which"
              .formatted(batch, rows.length));
    }
    Where where = found(sequence).where();
    long[] positions = new long[(int) (batch * time)];
    int count = 0;
    for (int row = 0; row < rows.length; row++) {
      for (long t = 0; t < time; t++) {
        if (where.acts(rows[row], time - t)) {
          positions[count++] = row * time + t;
        }
      }
    }
    return Arrays.copyOf(positions, count);
  }

  /** How many rows, or examples in packed rows, do not hold {@code sequence}. */
  public int missing(List<Integer> sequence) {
    return found(sequence).missing();
  }

  /** The numbers of an int64 matrix [rows, time], as Java data. */
  public static long[][] rows(Tensor ids) {
    var rows = new long[(int) ids.size(0)][(int) ids.size(1)];
    try (var _ = new PointerScope()) {
      Tensor here = ids.cpu().contiguous();
      var pointer = new LongPointer(here.data_ptr());
      for (int row = 0; row < rows.length; row++) {
        pointer.position((long) row * rows[row].length).get(rows[row]);
      }
    }
    return rows;
  }
}
