package espalier.serving;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.models.KvCache;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.models.Task;
import espalier.nn.Rows;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A batch of rows inside a model: what the model has read of them, and what it expects next. Rows
 * of unequal length are padded on the left, so that all of them end at the same place.
 */
/*
 * A decoder reads prompt and answer as one text. With an encoder, the prompts are the encoder's:
 * they are handed in at every step for their mask, but the keys of the encoder's states are in the
 * cache after the first, and the decoder starts from a token of its own.
 */
final class Decoding implements AutoCloseable {

  private final Model model;
  private final KvCache cache;
  private @Nullable List<String> adapters; // of each row; null: what is active
  private long[] padding = new long[0]; // of each row
  private @Nullable Tensor mask; // [rows, longest prompt], 0 at padding; null: no padding
  private @Nullable Tensor text; // [rows, longest prompt], what the encoder reads

  /**
   * A batch that nothing has been read of.
   *
   * @param cache what the model has read before, of one row only; may be empty. It is written to
   *     and stays the caller's.
   * @param adapters the adapter of each row, or null for what is active
   */
  Decoding(Model model, KvCache cache, @Nullable List<String> adapters) {
    this.model = model;
    this.cache = cache;
    this.adapters = adapters;
  }

  /**
   * Reads the first tokens of each row.
   *
   * @return scores of each row's next token, [rows, vocabulary], in the scope around
   */
  Tensor read(List<int[]> prompts) {
    int longest = prompts.stream().mapToInt(ids -> ids.length).max().orElseThrow();
    padding = prompts.stream().mapToLong(ids -> longest - ids.length).toArray();
    if (LongStream.of(padding).anyMatch(pad -> pad > 0)) {
      mask = Scope.owned(() -> mask(padding, longest));
    }
    Tensor ids = padded(prompts, longest);
    if (model.task() != Task.SEQ_2_SEQ_LM) {
      cache.resumeInvocations();
      Tensor scores = scores(ids);
      cache.endInvocations();
      return scores;
    }
    text = Scope.own(ids);
    int[] starts = new int[prompts.size()];
    Arrays.fill(starts, Objects.requireNonNull(model.config().tokens().decoderStart()));
    return read(starts);
  }

  /**
   * Reads one more token of each row.
   *
   * @return scores of each row's next token, [rows, vocabulary], in the scope around
   */
  Tensor read(int[] next) {
    return scores(tensor(Arrays.stream(next).asLongStream().toArray()).view(next.length, 1));
  }

  private Tensor scores(Tensor ids) {
    List<String> names = adapters;
    return names == null
        ? last(ids)
        : ScopedValue.where(Rows.ADAPTERS, names).call(() -> last(ids));
  }

  private Tensor last(Tensor ids) {
    return model
        .forwardLock()
        .forward(
            () -> {
              Tensor hidden = model.hidden(inputs(ids));
              // The head is a fifth of the arithmetic: only the last position goes through it.
              return model.head(hidden.select(1, hidden.size(1) - 1));
            });
  }

  private ModelInputs inputs(Tensor ids) {
    Tensor prompts = text;
    Tensor ofPrompts = mask;
    if (prompts != null) {
      return new ModelInputs(prompts, ofPrompts, null, null, null, ids, null, cache);
    }
    if (ofPrompts == null) {
      return ModelInputs.next(ids, null, cache);
    }
    long newer = cache.length() + ids.size(1) - ofPrompts.size(1);
    Tensor visible = constant_pad_nd(ofPrompts, new long[] {0, newer}, new Scalar(1));
    return ModelInputs.next(ids, visible, cache).withPositions(positions(ids.size(1)));
  }

  /** Counted from each row's first token, whatever way of counting the family has: [rows, time]. */
  private Tensor positions(long time) {
    long[] positions = new long[padding.length * (int) time];
    for (int i = 0; i < positions.length; i++) {
      positions[i] = Math.max(0, cache.length() + i % time - padding[i / (int) time]);
    }
    return tensor(positions).view(padding.length, time);
  }

  /** Goes on with these rows only, in this order. */
  void keep(List<Integer> rows) {
    long[] kept = rows.stream().mapToLong(Integer::longValue).toArray();
    cache.select(kept);
    padding = LongStream.of(kept).map(row -> padding[(int) row]).toArray();
    mask = chosen(mask, kept);
    text = chosen(text, kept);
    List<String> names = adapters;
    adapters = names == null ? null : rows.stream().map(names::get).toList();
  }

  private static @Nullable Tensor chosen(@Nullable Tensor all, long[] rows) {
    if (all == null) {
      return null;
    }
    Tensor kept = Scope.owned(() -> all.index_select(0, tensor(rows)));
    all.close();
    return kept;
  }

  /** [rows, longest] int64. Padding is token 0, which every vocabulary has. */
  private static Tensor padded(List<int[]> prompts, int longest) {
    long[] ids = new long[prompts.size() * longest];
    for (int row = 0; row < prompts.size(); row++) {
      int[] prompt = prompts.get(row);
      for (int i = 0; i < prompt.length; i++) {
        ids[(row + 1) * longest - prompt.length + i] = prompt[i];
      }
    }
    return tensor(ids).view(prompts.size(), longest);
  }

  private static Tensor mask(long[] padding, int longest) {
    Tensor mask = ones(padding.length, longest);
    for (int row = 0; row < padding.length; row++) {
      mask.select(0, row).narrow(0, 0, padding[row]).zero_();
    }
    return mask;
  }

  /** Frees what the batch holds, but not the cache. */
  @Override
  public void close() {
    for (Tensor each : new @Nullable Tensor[] {mask, text}) {
      if (each != null) {
        each.close();
      }
    }
    mask = null;
    text = null;
  }
}
