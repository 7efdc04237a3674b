package espalier.nn;

import static org.bytedeco.pytorch.global.torch.embedding;
import static org.bytedeco.pytorch.global.torch.scalar_tensor;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Looks up rows of W [V, D], and multiplies them by a fixed scale where the model asks for it. */
public final class Embedding extends Adaptable {

  private Tensor weight; // [V, D]
  private final long paddingIndex;
  private final double scale;

  /** An embedding over W [V, D] without a padding row and without a scale. */
  public Embedding(Tensor weight) {
    this(weight, -1, 1);
  }

  /**
   * An embedding over a given table.
   *
   * @param weight [V, D]
   * @param paddingIndex the row that gets no gradient, or -1 for none
   * @param scale factor on the output, such as Gemma's √D
   */
  public Embedding(Tensor weight, long paddingIndex, double scale) {
    this.weight = parameter("weight", weight);
    this.paddingIndex = paddingIndex;
    this.scale = scale;
  }

  /** Rows of the table; where the layer is split, of those that this rank has. */
  public long vocabulary() {
    return weight.size(0);
  }

  /** Columns of the table; where the layer is split, of those that this rank has. */
  public long width() {
    return weight.size(1);
  }

  /** The row that gets no gradient, or -1. */
  public long paddingIndex() {
    // A table that was cut short may have lost the row; a part of a split table has not.
    return partition() == null && paddingIndex >= vocabulary() ? -1 : paddingIndex;
  }

  /** The table, [V, D]. */
  @Override
  public Tensor weight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return null;
  }

  @Override
  public double outputScale() {
    return scale;
  }

  /** Rows for {@code ids}: [...] to [..., D]. */
  @Override
  public Tensor base(Tensor ids) {
    return base(ids, weight, null);
  }

  @Override
  public Tensor base(Tensor ids, Tensor table, @Nullable Tensor none) {
    return scaled(lookup(ids, table));
  }

  /** Rows that were looked up, [..., D], times this embedding's scale. */
  public Tensor scaled(Tensor rows) {
    // The reference rounds the scale to the table's dtype before it multiplies.
    return scale == 1
        ? rows
        : rows.mul(scalar_tensor(new Scalar(scale)).to(rows.scalar_type().intern()));
  }

  /**
   * Rows of another table with this embedding's padding rule: [...] to [..., width]. Where the
   * layer is split, the table is split likewise.
   */
  public Tensor lookup(Tensor ids, Tensor table) {
    Partition partition = partition();
    return partition == null
        ? rows(ids, table, paddingIndex())
        : partition.lookup(ids, table, paddingIndex, Embedding::rows);
  }

  private static Tensor rows(Tensor ids, Tensor table, long padding) {
    return embedding(table, ids, padding, false, false);
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter("weight", w);
  }

  @Override
  void replaceBias(Tensor b) {
    throw new IllegalStateException("an embedding has no bias");
  }
}
