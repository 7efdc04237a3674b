package espalier.models;

import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Keys and values of the tokens that a decoder has seen, for each layer [B, kvHeads, capacity, D].
 *
 * <p>Room is made before it is needed and doubles when it runs out, so that a token costs no copy
 * of those before it. Rows of different lengths are padded on the left, and the attention mask says
 * where; keys hold their rotation, so they may stand anywhere.
 *
 * <p>The cache remembers which adapters wrote each position, and a forward under others is refused:
 * see {@link #force}. An adapter that waits for tokens (activated LoRA) leaves what stands before
 * them to the base, so a cache that the base filled serves it too:
 *
 * <pre>{@code
 * try (var _ = adapters.disable()) {
 *   model.logits(ModelInputs.next(prompt, null, cache));
 * }
 * try (KvCache branch = cache.copy()) {
 *   model.logits(ModelInputs.next(invocation, null, branch));   // the adapter goes on
 * }
 * }</pre>
 *
 * <p>The cache owns its memory; close it. It is for one thread, and for generation: no gradient
 * goes through it.
 */
public final class KvCache implements AutoCloseable {

  /**
   * One layer's keys and values.
   *
   * @param k [B, kvHeads, S, D]
   * @param v [B, kvHeads, S, D]
   */
  public record Entry(Tensor k, Tensor v) {

    private Entry owned() {
      return new Entry(Scope.own(k), Scope.own(v));
    }

    private void close() {
      k.close();
      v.close();
    }
  }

  private final @Nullable Entry[] layers;
  private final @Nullable Entry[] across;
  private long capacity;
  private long length;
  private CacheRecord record = new CacheRecord();
  private boolean forced;

  /** An empty cache for so many layers, with room for so many tokens a row. */
  public KvCache(int layers, long capacity) {
    if (layers < 1 || capacity < 1) {
      throw new IllegalArgumentException(
          "a cache of %d layers and %d tokens holds nothing; give at least 1 of each"
              .formatted(layers, capacity));
    }
    this.layers = new Entry[layers];
    this.across = new Entry[layers];
    this.capacity = capacity;
  }

  /** Tokens a row that the cache holds, padding included. */
  public long length() {
    return length;
  }

  /** Tokens a row that fit without making more room. */
  public long capacity() {
    return capacity;
  }

  /** How many layers the cache is for. */
  public int layers() {
    return layers.length;
  }

  /** Rows of the batch, or 0 while the cache is empty. */
  public long rows() {
    Entry first = layers[0];
    return first == null ? 0 : first.k().size(0);
  }

  /**
   * Writes the newest tokens of one layer.
   *
   * @param k [B, kvHeads, T, D]
   * @param v [B, kvHeads, T, D]
   * @return views of all that the layer holds now, [B, kvHeads, length + T, D]
   */
  public Entry append(int layer, Tensor k, Tensor v) {
    if (k.requires_grad() || v.requires_grad()) {
      throw new IllegalStateException(
          "a cache can not carry gradients; generate under try (var _ = new NoGradGuard())");
    }
    long end = length + k.size(2);
    Entry entry = layers[layer];
    if (entry != null && entry.k().size(0) != k.size(0)) {
      throw new IllegalArgumentException(
          "the batch has %d rows but the cache holds %d; use select to change its rows"
              .formatted(k.size(0), entry.k().size(0)));
    }
    if (entry == null || entry.k().size(2) < end) {
      while (capacity < end) {
        capacity *= 2;
      }
      entry = moved(entry, k, v);
      layers[layer] = entry;
    }
    entry.k().narrow(2, length, k.size(2)).copy_(k);
    entry.v().narrow(2, length, v.size(2)).copy_(v);
    return new Entry(entry.k().narrow(2, 0, end), entry.v().narrow(2, 0, end));
  }

  /** Counts tokens that all layers have written. */
  void advance(long tokens) {
    length += tokens;
  }

  private Entry moved(@Nullable Entry old, Tensor k, Tensor v) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var room = new Entry(room(k), room(v));
      if (old != null) {
        room.k().narrow(2, 0, length).copy_(old.k().narrow(2, 0, length));
        room.v().narrow(2, 0, length).copy_(old.v().narrow(2, 0, length));
        old.close();
      }
      return room.owned();
    }
  }

  private Tensor room(Tensor like) {
    return empty(
        new long[] {like.size(0), like.size(1), capacity, like.size(3)}, like.options(), null);
  }

  /** Forgets all tokens after the first {@code tokens} of each row. */
  public void truncate(long tokens) {
    if (tokens < 0 || tokens > length) {
      throw new IllegalArgumentException(
          "the cache holds %d tokens and can not be cut to %d".formatted(length, tokens));
    }
    length = tokens;
  }

  /**
   * Cuts the cache at the first position that an adapter wrote, in any row, also one that was
   * merged then: what is left serves the base, and adapters that wait for tokens which come later.
   */
  public void truncateToBase() {
    for (int position = 0; position < length; position++) {
      for (int row = 0; row < record.rows(); row++) {
        Voice voice = record.voice(row, position);
        if (voice != null && !voice.adapters().isEmpty()) {
          length = position;
          return;
        }
      }
    }
  }

  /**
   * Names of the adapters that wrote a position, merged ones first; empty for the base alone, and
   * where nobody wrote.
   */
  public List<String> writers(int row, int position) {
    Voice voice = position < length ? record.voice(row, position) : null;
    return voice == null ? List.of() : voice.adapters();
  }

  /**
   * Lets forwards use what other adapters wrote, or not. Their logits are then those of neither
   * adapter.
   */
  public void force(boolean on) {
    forced = on;
  }

  boolean forced() {
    return forced;
  }

  /**
   * Says that what a model writes itself calls no adapter: from now on, what adapters wait for is
   * looked for among the present tokens of each row only. Whoever generates calls this once the
   * prompt is read.
   */
  public void endInvocations() {
    record.search((int) length);
  }

  /** Looks for what adapters wait for in whole rows again, as a new cache does. */
  public void resumeInvocations() {
    record.search(Integer.MAX_VALUE);
  }

  CacheRecord record() {
    return record;
  }

  /** A cache of its own with the same content. */
  public KvCache copy() {
    var copy = new KvCache(layers.length, capacity);
    copy.length = length;
    copy.record = record.copy();
    copy.forced = forced;
    try (var _ = Scope.open()) {
      for (int i = 0; i < layers.length; i++) {
        copy.layers[i] = cloned(layers[i]);
        copy.across[i] = cloned(across[i]);
      }
    } catch (RuntimeException | Error e) {
      copy.close();
      throw e;
    }
    return copy;
  }

  private static @Nullable Entry cloned(@Nullable Entry entry) {
    return entry == null ? null : new Entry(entry.k().clone(), entry.v().clone()).owned();
  }

  /** Keeps these rows, in this order; a row may be named twice, as beam search does. */
  public void select(long... rows) {
    long present = rows();
    for (long row : rows) {
      if (row < 0 || row >= present) {
        throw new IllegalArgumentException(
            "row %d is not in the cache, which has %d rows".formatted(row, present));
      }
    }
    if (rows.length == 0) {
      throw new IllegalArgumentException("a cache keeps at least one row; close it instead");
    }
    try (var _ = Scope.open()) {
      Entry first = layers[0];
      if (first == null) {
        return;
      }
      Tensor index =
          tensor(rows, first.k().options().dtype(new ScalarTypeOptional(ScalarType.Long)));
      for (int i = 0; i < layers.length; i++) {
        layers[i] = chosen(layers[i], index);
        across[i] = chosen(across[i], index);
      }
      record = record.selected(rows);
    }
  }

  private static @Nullable Entry chosen(@Nullable Entry entry, Tensor index) {
    if (entry == null) {
      return null;
    }
    Entry kept =
        new Entry(entry.k().index_select(0, index), entry.v().index_select(0, index)).owned();
    entry.close();
    return kept;
  }

  /**
   * The rows of several caches in one, which is as long as the longest of them. Rows of a shorter
   * cache are moved to the right; give 0 for what is left of them in the attention mask.
   *
   * @param caches caches of one model that hold at least a token each; they stay as they are
   */
  public static KvCache stacked(List<KvCache> caches) {
    if (caches.isEmpty() || caches.stream().anyMatch(cache -> cache.rows() == 0)) {
      throw new IllegalArgumentException("there is nothing to stack: a cache is empty or missing");
    }
    long longest = caches.stream().mapToLong(KvCache::length).max().orElseThrow();
    long rows = caches.stream().mapToLong(KvCache::rows).sum();
    KvCache one = caches.getFirst();
    var all =
        new KvCache(
            one.layers.length,
            Math.max(longest, caches.stream().mapToLong(KvCache::capacity).max().orElseThrow()));
    all.length = longest;
    caches.forEach(cache -> all.record.append(cache.record, (int) cache.length, (int) longest));
    try (var _ = Scope.open()) {
      for (int i = 0; i < one.layers.length; i++) {
        int layer = i;
        if (one.across[i] != null) {
          throw new IllegalArgumentException(
              "caches of an encoder-decoder can not be stacked: their encoders' states differ in"
                  + " length");
        }
        all.layers[i] =
            new Entry(
                    all.together(caches.stream().map(c -> c.at(layer).k()).toList(), caches, rows),
                    all.together(caches.stream().map(c -> c.at(layer).v()).toList(), caches, rows))
                .owned();
      }
    } catch (RuntimeException | Error e) {
      all.close();
      throw e;
    }
    return all;
  }

  private Tensor together(List<Tensor> parts, List<KvCache> caches, long rows) {
    Tensor like = parts.getFirst();
    // Zeros on the left: masked, but a garbage value times a weight of zero could still be NaN.
    Tensor all = zeros(new long[] {rows, like.size(1), capacity, like.size(3)}, like.options());
    long row = 0;
    for (int i = 0; i < parts.size(); i++) {
      long filled = caches.get(i).length;
      long count = parts.get(i).size(0);
      all.narrow(0, row, count)
          .narrow(2, length - filled, filled)
          .copy_(parts.get(i).narrow(2, 0, filled));
      row += count;
    }
    return all;
  }

  private Entry at(int layer) {
    Entry entry = layers[layer];
    if (entry == null) {
      throw new IllegalStateException("layer " + layer + " has not written to the cache yet");
    }
    return entry;
  }

  /** Whether the keys of an encoder's states are kept, so that it need not run again. */
  public boolean hasMemory() {
    return across[0] != null;
  }

  @Nullable Entry across(int layer) {
    return across[layer];
  }

  void keepAcross(int layer, Tensor k, Tensor v) {
    across[layer] = new Entry(k, v).owned();
  }

  @Override
  public void close() {
    for (@Nullable Entry[] entries : List.of(layers, across)) {
      for (int i = 0; i < entries.length; i++) {
        Entry entry = entries[i];
        if (entry != null) {
          entry.close();
          entries[i] = null;
        }
      }
    }
    length = 0;
  }
}
