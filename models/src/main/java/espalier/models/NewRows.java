package espalier.models;

import static org.bytedeco.pytorch.global.torch.linalg_cholesky_ex;

import espalier.nn.Init;
import java.util.Arrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What stands in the rows that an embedding or an output head gets for new tokens. */
@FunctionalInterface
public interface NewRows {

  /**
   * Rows for new tokens.
   *
   * @param path the layer, such as {@code model.embed_tokens} or {@code lm_head}
   * @param present its rows, [V, D]
   * @param count how many are wanted
   * @return [count, D], of any floating-point dtype, in the caller's scope
   */
  Tensor of(String path, Tensor present, long count);

  /**
   * Draws close to the mean of the present rows, which hardly changes the probabilities of the
   * present tokens: normal with their mean and a thousand-millionth of their covariance, or the
   * mean alone where that is singular. Each layer has a stream of its own.
   *
   * @see <a href="https://nlp.stanford.edu/~johnhew/vocab-expansion.html">Initializing new word
   *     embeddings</a>
   */
  static NewRows aroundMean(long seed) {
    return (path, present, count) -> {
      Tensor own = present.to(ScalarType.Float);
      Tensor mean = own.mean(new long[] {0}, false, new ScalarTypeOptional());
      Tensor centred = own.sub(mean);
      Tensor covariance = centred.t().matmul(centred).mul(new Scalar(1e-9 / (double) own.size(0)));
      var root = linalg_cholesky_ex(covariance, false, false);
      if (root.get1().item_int() != 0) {
        return mean.expand(count, own.size(1));
      }
      Tensor draws = Init.stream(seed, "new rows", path).normal(1, count, own.size(1));
      return mean.add(draws.to(own.device(), ScalarType.Float).matmul(root.get0().t()));
    };
  }

  /**
   * The same given rows for each layer.
   *
   * @param rows [count, D]; they stay the caller's
   */
  static NewRows given(Tensor rows) {
    return (path, present, count) -> {
      if (!Arrays.equals(rows.shape(), new long[] {count, present.size(1)})) {
        throw new IllegalArgumentException(
            "the rows for new tokens are %s but %s needs [%d, %d]"
                .formatted(Arrays.toString(rows.shape()), path, count, present.size(1)));
      }
      return rows;
    };
  }
}
