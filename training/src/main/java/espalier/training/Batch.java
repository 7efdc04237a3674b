package espalier.training;

import espalier.text.Example;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * One micro-batch as the model takes it: ids in rows of one length, who belongs to which example,
 * and which positions predict which token. Plain Java data; its tensors are made when asked for, in
 * the scope of the asker.
 */
public final class Batch {

  private final int rows;
  private final int time;
  private final long[] ids; // [rows * time]
  private final long[] reach; // [rows * time]: see reach()
  private final long[] sources; // [tokens]: flat positions whose output is judged
  private final long[] places; // [tokens]: where the tokens stand that should come next there
  private final long real;
  private final boolean padded;
  private final boolean packed;

  private Batch(List<PackedRow> packedRows, int padId, boolean packed) {
    this.packed = packed;
    List<RowLayout> layouts = packedRows.stream().map(PackedRow::layout).toList();
    rows = layouts.size();
    time = layouts.stream().mapToInt(RowLayout::length).max().orElseThrow();
    padded = layouts.stream().anyMatch(layout -> layout.length() < time);
    real =
        packedRows.stream()
            .flatMap(row -> row.examples().stream())
            .mapToLong(Example::length)
            .sum();
    ids = new long[rows * time];
    reach = new long[rows * time];
    Arrays.fill(ids, padId);
    int labelled = layouts.stream().mapToInt(layout -> layout.judged().size()).sum();
    sources = new long[labelled];
    places = new long[labelled];
    int next = 0;
    for (int row = 0; row < rows; row++) {
      RowLayout layout = layouts.get(row);
      int at = row * time;
      for (int place = 0; place < layout.length(); place++) {
        ids[at + place] = layout.id(place);
        reach[at + place] = layout.reach(place);
      }
      for (RowLayout.Judged token : layout.judged()) {
        sources[next] = (long) at + token.source();
        places[next++] = (long) at + token.place();
      }
    }
  }

  /** Each example in a row of its own, padded on the right to the longest. */
  public static Batch padded(List<Example> examples, int padId) {
    return new Batch(examples.stream().map(e -> new PackedRow(List.of(e))).toList(), padId, false);
  }

  /** The examples in as few rows of at most {@code maxLength} tokens as packing finds. */
  public static Batch packed(List<Example> examples, int maxLength, int padId) {
    return new Batch(Packing.pack(examples, maxLength), padId, true);
  }

  /**
   * As {@link #packed}, and what several examples of a row begin with, such as a system prompt,
   * stands there once and is computed once. Where dropout acts, they share its draws too.
   */
  public static Batch sharing(List<Example> examples, int maxLength, int padId) {
    return new Batch(Packing.packSharing(examples, maxLength), padId, true);
  }

  /** Number of rows. */
  public int rows() {
    return rows;
  }

  /** Positions of a row. */
  public int time() {
    return time;
  }

  /** Labelled tokens: what the loss is a sum over. */
  public long tokens() {
    return sources.length;
  }

  /** Tokens of all examples, also those that share their place with others. */
  public long realTokens() {
    return real;
  }

  /** Whether any position is padding. */
  public boolean hasPadding() {
    return padded;
  }

  /** Whether rows may hold several examples, so that attention must stay within each. */
  public boolean packed() {
    return packed;
  }

  /** Token ids [rows, time], int64. */
  public Tensor inputIds() {
    return matrix(ids);
  }

  /**
   * How far each token is seen: by the tokens from its own index in the row up to but without this
   * one; 0 at padding; [rows, time], int64.
   */
  public Tensor reach() {
    return matrix(reach);
  }

  /** 1 at tokens and 0 at padding; [rows, time], int64. */
  public Tensor attentionMask() {
    long[] mask = reach.clone();
    for (int i = 0; i < mask.length; i++) {
      mask[i] = Math.min(1, mask[i]);
    }
    return matrix(mask);
  }

  /** Flat positions (row * time + t) whose output is judged; [tokens], int64. */
  public Tensor sources() {
    return vector(sources);
  }

  /** The token that should follow at each of {@link #sources}; [tokens], int64. */
  public Tensor targets() {
    return vector(Arrays.stream(places).map(place -> ids[(int) place]).toArray());
  }

  /**
   * The tokens that are learned where they stand, as other libraries have their labels; [rows,
   * time], int64.
   *
   * @param masked the value of all other positions
   */
  public Tensor labels(long masked) {
    long[] labels = new long[ids.length];
    Arrays.fill(labels, masked);
    for (long place : places) {
      labels[(int) place] = ids[(int) place];
    }
    return matrix(labels);
  }

  private Tensor matrix(long[] values) {
    return vector(values).view(rows, time);
  }

  private static Tensor vector(long[] values) {
    Tensor tensor =
        torch.empty(
            new long[] {values.length},
            new TensorOptions(ScalarType.Long),
            new MemoryFormatOptional());
    if (values.length > 0) {
      new LongPointer(tensor.data_ptr()).put(values);
    }
    return tensor;
  }
}
