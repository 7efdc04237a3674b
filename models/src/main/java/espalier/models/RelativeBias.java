package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.where;

import espalier.nn.Embedding;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * T5's positions: a learned number for each head and each bucket of distances. The first block's
 * table serves all blocks.
 *
 * @param table [buckets, heads]
 * @param bothWays whether keys after the query have buckets of their own
 * @see <a href="https://arxiv.org/abs/1910.10683">T5, section 2.1</a>
 */
record RelativeBias(Embedding table, Position.Relative spec, boolean bothWays) {

  /** Whether the numbers are being trained, by an adapter or themselves. */
  boolean trained() {
    return table.weight().requires_grad() || !table.adapters().inForce().isEmpty();
  }

  /** What to add to the scores of queries past .. keys - 1, [1, heads, keys - past, keys]. */
  Tensor of(long past, long keys, Tensor like) {
    Tensor query = arange(new Scalar(past), new Scalar(keys), like.options()).unsqueeze(1);
    Tensor key = arange(new Scalar(keys), like.options()).unsqueeze(0);
    return table.forward(buckets(key.sub(query))).permute(2, 0, 1).unsqueeze(0);
  }

  // Half of the buckets are single distances, the others grow logarithmically to maxDistance.
  private Tensor buckets(Tensor ahead) {
    long count = bothWays ? spec.buckets() / 2 : spec.buckets();
    Tensor distance = bothWays ? ahead.abs() : ahead.neg().clamp_min_(new Scalar(0));
    long exact = count / 2;
    Tensor far =
        distance
            .to(ScalarType.Float)
            .div_(new Scalar(exact))
            .log_()
            .div_(new Scalar(Math.log((double) spec.maxDistance() / exact)))
            .mul_(new Scalar(count - exact))
            // log 0 is -inf, which no integer can hold; small distances are not taken from here
            .clamp_(new ScalarOptional(new Scalar(0)), new ScalarOptional(new Scalar(count)))
            .to(ScalarType.Long)
            .add_(new Scalar(exact))
            .clamp_max_(new Scalar(count - 1));
    Tensor bucket = where(distance.lt(new Scalar(exact)), distance, far);
    return bothWays
        ? bucket.add_(ahead.gt(new Scalar(0)).to(ScalarType.Long).mul_(new Scalar(count)))
        : bucket;
  }
}
