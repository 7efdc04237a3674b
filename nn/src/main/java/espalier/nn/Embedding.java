package espalier.nn;

import static org.bytedeco.pytorch.global.torch.embedding;
import static org.bytedeco.pytorch.global.torch.ones_like;
import static org.bytedeco.pytorch.global.torch.scalar_tensor;
import static org.bytedeco.pytorch.global.torch.where;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Looks up rows of W [V, D], and multiplies them by a fixed scale where the model asks for it. */
public final class Embedding extends Adaptable {

  /** What the library adds to a norm before it divides by it. */
  private static final double TINY = 1e-7;

  private Tensor weight; // [V, D]
  private final LookupOptions options;
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
    this(weight, LookupOptions.padded(paddingIndex), scale);
  }

  /**
   * An embedding with libtorch's options.
   *
   * @param weight [V, D]
   * @param scale factor on the output
   */
  public Embedding(Tensor weight, LookupOptions options, double scale) {
    this.weight = parameter("weight", weight);
    this.options = options;
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
    long padding = options.paddingIndex();
    return partition() == null && padding >= vocabulary() ? -1 : padding;
  }

  /** How rows are looked up. */
  public LookupOptions options() {
    return options;
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
    return scaled(limited(lookup(ids, table)));
  }

  /** Rows of a table [..., D], each scaled down to the largest norm that the options allow. */
  public Tensor limited(Tensor rows) {
    Double most = options.maxNorm();
    if (most == null) {
      return rows;
    }
    if (partition() != null) {
      throw new IllegalStateException(
          "an embedding with max_norm can not be split, for no rank sees whole rows; leave it"
              + " whole");
    }
    Tensor wide = HalfPrecision.widened(rows.detach());
    Tensor norms =
        wide.norm(new ScalarOptional(new Scalar(options.normType())), new long[] {-1}, true);
    Tensor factor =
        where(
            norms.gt(new Scalar(most)),
            norms.add(new Scalar(TINY)).reciprocal().mul(new Scalar(most)),
            ones_like(norms));
    return rows.mul(factor.to(rows.scalar_type().intern()));
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
        : partition.lookup(ids, table, options.paddingIndex(), this::rows);
  }

  /**
   * {@inheritDoc}
   *
   * <p>With {@code max_norm} the base's rows and those of a branch are each limited by themselves,
   * while of a merged table the sum would be.
   */
  @Override
  public @Nullable String mergeRefusal(Adapter adapter) {
    return options.maxNorm() == null
        ? null
        : "this embedding scales rows down to max_norm %s when it looks them up, which would act on the merged row as a whole; keep the adapter unmerged"
            .formatted(options.maxNorm());
  }

  private Tensor rows(Tensor ids, Tensor table, long padding) {
    return embedding(table, ids, padding, options.scaleGradByFreq(), options.sparse());
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
