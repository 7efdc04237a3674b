package espalier.training;

import espalier.text.Example;
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
  private final long[] segments; // [rows * time]: 0 padding, 1, 2, ... the examples of a row
  private final long[] sources; // [tokens]: flat positions whose output is judged
  private final long[] targets; // [tokens]: the token that should come next there
  private final long real;
  private final boolean packed;

  private Batch(List<PackedRow> packedRows, int padId, boolean packed) {
    this.packed = packed;
    rows = packedRows.size();
    time = packedRows.stream().mapToInt(PackedRow::length).max().orElseThrow();
    ids = new long[rows * time];
    segments = new long[rows * time];
    java.util.Arrays.fill(ids, padId);
    int labelled =
        packedRows.stream()
            .flatMap(row -> row.examples().stream())
            .mapToInt(Example::labelled)
            .sum();
    sources = new long[labelled];
    targets = new long[labelled];
    int next = 0;
    long tokens = 0;
    for (int row = 0; row < rows; row++) {
      int at = row * time;
      int segment = 1;
      for (Example example : packedRows.get(row).examples()) {
        int[] exampleIds = example.ids();
        int[] labels = example.labels();
        for (int i = 0; i < exampleIds.length; i++) {
          ids[at + i] = exampleIds[i];
          segments[at + i] = segment;
          // The first token of an example has nothing before it that could predict it.
          if (i > 0 && labels[i] != Example.IGNORED) {
            sources[next] = (long) at + i - 1;
            targets[next] = labels[i];
            next++;
          }
        }
        at += exampleIds.length;
        tokens += exampleIds.length;
        segment++;
      }
    }
    real = tokens;
  }

  /** Each example in a row of its own, padded on the right to the longest. */
  public static Batch padded(List<Example> examples, int padId) {
    return new Batch(examples.stream().map(e -> new PackedRow(List.of(e))).toList(), padId, false);
  }

  /** The examples in as few rows of at most {@code maxLength} tokens as packing finds. */
  public static Batch packed(List<Example> examples, int maxLength, int padId) {
    return new Batch(Packing.pack(examples, maxLength), padId, true);
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

  /** Tokens without padding. */
  public long realTokens() {
    return real;
  }

  /** Whether any position is padding. */
  public boolean hasPadding() {
    return real < (long) rows * time;
  }

  /** Whether rows may hold several examples, so that attention must stay within each. */
  public boolean packed() {
    return packed;
  }

  /** Token ids [rows, time], int64. */
  public Tensor inputIds() {
    return matrix(ids);
  }

  /** 0 at padding, 1, 2, ... at the examples of a row; [rows, time], int64. */
  public Tensor segments() {
    return matrix(segments);
  }

  /** 1 at tokens and 0 at padding; [rows, time], int64. */
  public Tensor attentionMask() {
    long[] mask = segments.clone();
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
    return vector(targets);
  }

  /**
   * The tokens that are learned where they stand, as other libraries have their labels; [rows,
   * time], int64.
   *
   * @param masked the value of all other positions
   */
  public Tensor labels(long masked) {
    long[] labels = new long[ids.length];
    java.util.Arrays.fill(labels, masked);
    for (int i = 0; i < sources.length; i++) {
      labels[(int) sources[i] + 1] = targets[i];
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
