package espalier.nn;

import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.randint;

import java.util.function.BiFunction;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A layer's place in a model that several ranks compute together: what of it this rank has, and
 * what the ranks tell each other while it runs.
 */
public final class Partition {

  private final Collective ranks;
  private final ParallelStyle style;

  /** A place; {@link Adaptable#split} puts a layer there. */
  public Partition(Collective ranks, ParallelStyle style) {
    this.ranks = ranks;
    this.style = style;
  }

  /** Those who compute the model. */
  public Collective ranks() {
    return ranks;
  }

  /** How the layer is split. */
  public ParallelStyle style() {
    return style;
  }

  /** Whether this rank has a part of the layer only. */
  public boolean splits() {
    return style.splits();
  }

  /** How the logical weight is split, or null if each rank has all of it. */
  public @Nullable Shard weight() {
    return style.splits() ? new Shard(ranks, style.weightDimension()) : null;
  }

  /** How the bias is split, or null if each rank has all of it. */
  public @Nullable Shard bias() {
    return switch (style) {
      case COLUMN, COLUMN_GATHERED -> new Shard(ranks, 0);
      default -> null;
    };
  }

  /**
   * A tensor of the layer's that trains, as the forward is to use it: where each rank sees other
   * inputs, its gradients are summed.
   */
  public Tensor trained(Tensor parameter) {
    return style == ParallelStyle.REPLICATED_SUMMED ? Exchange.copied(ranks, parameter) : parameter;
  }

  /** A linear layer's output from what this rank has of its weight. */
  Tensor linear(
      Tensor x, @Nullable Tensor bias, BiFunction<Tensor, @Nullable Tensor, Tensor> local) {
    return switch (style) {
      case COLUMN -> local.apply(Exchange.copied(ranks, x), bias);
      case COLUMN_GATHERED ->
          Exchange.gathered(ranks, local.apply(Exchange.copied(ranks, x), bias));
      case ROW -> plus(Exchange.summed(ranks, local.apply(x, null)), bias);
      case ROW_SPLIT_INPUT ->
          plus(Exchange.summed(ranks, local.apply(Exchange.own(ranks, x), null)), bias);
      case EMBEDDING_ROW, EMBEDDING_COLUMN, REPLICATED, REPLICATED_SUMMED -> local.apply(x, bias);
    };
  }

  // once, and not by every rank
  private static Tensor plus(Tensor sum, @Nullable Tensor bias) {
    return bias == null ? sum : sum.add_(bias);
  }

  /** Looks up rows of a table. */
  @FunctionalInterface
  interface Lookup {
    /** Rows for ids [...] of a table [V, D]: [..., D]. */
    Tensor of(Tensor ids, Tensor table, long paddingIndex);
  }

  /** Rows for ids [...] of which this rank has a part of the table, [..., D]. */
  Tensor lookup(Tensor ids, Tensor table, long paddingIndex, Lookup local) {
    return switch (style) {
      case EMBEDDING_ROW -> {
        long rows = table.size(0);
        long first = ranks.rank() * rows;
        Tensor here = ids.sub(new Scalar(first));
        Tensor elsewhere = here.lt(new Scalar(0)).logical_or(here.ge(new Scalar(rows)));
        boolean padding = paddingIndex >= first && paddingIndex < first + rows;
        Tensor found =
            local.of(
                here.masked_fill(elsewhere, new Scalar(0)),
                table,
                padding ? paddingIndex - first : -1);
        yield Exchange.summed(ranks, found.masked_fill(elsewhere.unsqueeze(-1), new Scalar(0)));
      }
      case EMBEDDING_COLUMN -> Exchange.gathered(ranks, local.of(ids, table, paddingIndex));
      default -> local.of(ids, table, paddingIndex);
    };
  }

  /**
   * Drops entries of the layer's input, and widens the others. Where each rank has the same input,
   * the same entries are dropped, or the ranks would learn different things.
   *
   * @param x [..., in]
   * @param probability in [0, 1]
   */
  public Tensor dropout(Tensor x, double probability) {
    Tensor seed = randint(1L << 62, new long[] {1}, new TensorOptions(ScalarType.Long));
    ranks.broadcast(seed);
    boolean alike = style != ParallelStyle.ROW && style != ParallelStyle.REPLICATED_SUMMED;
    long own = seed.item_long() + (alike ? 0 : ranks.rank());
    Tensor kept =
        empty(x.shape())
            .bernoulli_(1 - probability, new GeneratorOptional(createCPUGenerator(own)));
    Tensor mask = probability < 1 ? kept.div_(new Scalar(1 - probability)) : kept;
    return x.mul(mask.to(x));
  }
}
