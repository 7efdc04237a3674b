package espalier.adapters;

import static org.bytedeco.pytorch.global.torch.full;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Scope;
import java.util.List;
import java.util.stream.LongStream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Some rows of an embedding, or of an output head, trained by themselves: what {@code
 * trainable_token_indices} asks for. The trained rows stand in the place of the layer's own, they
 * are not added, so that they mean the same on a base whose rows are others.
 *
 * <p>Only the rows are ever computed, never a copy of the table.
 */
public sealed class TokenAdapter extends Adapter permits FollowingTokens {

  static final String DELTA = "token_adapter.trainable_tokens_delta";

  private final Adaptable layer;
  private final List<Integer> tokens;
  private final Tensor rows; // [n] int64
  private final Tensor slots; // [V] int64: which trained row a token has, or -1

  TokenAdapter(Adaptable layer, List<Integer> tokens) {
    this.layer = layer;
    this.tokens = List.copyOf(tokens);
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor weight = layer.originalWeight();
      TensorOptions options = weight.options().dtype(new ScalarTypeOptional(ScalarType.Long));
      long[] order = LongStream.range(0, tokens.size()).toArray();
      rows = Scope.own(tensor(tokens.stream().mapToLong(t -> t).toArray(), options));
      slots =
          Scope.own(
              full(new long[] {weight.size(0)}, new Scalar(-1L), options)
                  .index_copy_(0, rows, tensor(order, options)));
    }
  }

  /** Rows of a layer that start as what they are. */
  static TokenAdapter of(Adaptable layer, List<Integer> tokens) {
    var adapter = new TokenAdapter(layer, tokens);
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      adapter.parameter(
          DELTA, layer.originalWeight().detach().index_select(0, adapter.rows).clone());
    }
    return adapter;
  }

  /** The tokens whose rows are trained, in the order of the rows. */
  public final List<Integer> tokens() {
    return tokens;
  }

  /** The trained rows [n, D]. */
  public Tensor delta() {
    return parameter(DELTA);
  }

  @Override
  public final Adaptable layer() {
    return layer;
  }

  @Override
  public final Tensor first(Tensor x) {
    return layer instanceof Embedding ? super.first(x) : head(x, layer.base(x));
  }

  @Override
  public final Tensor forward(Tensor x, Tensor y) {
    return layer instanceof Embedding embedding
        ? embedded(embedding, x, y)
        : head(x, y.clone()); // y belongs to the adapters before
  }

  // A token without a trained row is looked up in row 0 and thrown away by the choice.
  private Tensor embedded(Embedding embedding, Tensor ids, Tensor y) {
    Tensor slot = slots.index_select(0, ids.reshape(-1)).view_as(ids);
    Tensor table = delta().to(embedding.dtype());
    Tensor found = table.index_select(0, slot.clamp_min(new Scalar(0L)).reshape(-1)).view_as(y);
    if (embedding.paddingIndex() >= 0) {
      Tensor padding = ids.eq(new Scalar(embedding.paddingIndex())).unsqueeze(-1);
      found = found.detach().where(padding, found); // used, but it never learns
    }
    return embedding
        .scaled(embedding.limited(found))
        .to(y.scalar_type().intern())
        .where(slot.ge(new Scalar(0L)).unsqueeze(-1), y);
  }

  private Tensor head(Tensor x, Tensor y) {
    ScalarType dtype = x.scalar_type().intern();
    Tensor part = linear(x, delta().to(dtype));
    Tensor bias = layer.bias();
    Tensor own = bias == null ? part : part.add(bias.index_select(0, rows));
    return y.index_copy_(-1, rows, own.to(y.scalar_type().intern()));
  }

  /** What stands in the place of the base's own values is of whatever dtype that asks for. */
  @Override
  public final void requireReady(Tensor x) {
    requireFilled();
  }

  @Override
  public final Tensor deltaWeight() {
    Tensor own = wide(layer.originalWeight());
    Tensor change = wide(delta()).sub(own.index_select(0, rows));
    return own.new_zeros(own.sizes()).index_copy_(0, rows, change);
  }

  @Override
  public final Tensor mergedInto(Tensor weight) {
    return weight.index_copy(0, rows, delta().detach().to(weight.scalar_type().intern()));
  }

  @Override
  public void close() {
    super.close();
    rows.close();
    slots.close();
  }

  /** Whether no row of one is a row of the other. */
  final boolean apart(TokenAdapter other) {
    return tokens.stream().noneMatch(other.tokens::contains);
  }
}
