package espalier.nn;

import static org.bytedeco.pytorch.global.torch.cat;

import java.util.Arrays;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.MemoryFormat;

/**
 * How a tensor is split: into equal slices along one dimension, of which each rank has its own.
 *
 * @param ranks who has the slices
 * @param dimension the dimension that is split, from the end if negative
 */
public record Shard(Collective ranks, int dimension) {

  /**
   * This rank's slice, as a tensor of its own.
   *
   * @throws IllegalArgumentException if the dimension can not be split evenly
   */
  public Tensor of(Tensor whole) {
    if (!splits(whole)) {
      throw new IllegalArgumentException(
          "dimension %d of %s can not be split evenly over %d ranks"
              .formatted(dimension, Arrays.toString(whole.shape()), ranks.size()));
    }
    return Scope.result(
        () -> {
          long width = whole.size(dimension) / ranks.size();
          return whole
              .narrow(dimension, ranks.rank() * width, width)
              .clone(new MemoryFormatOptional(MemoryFormat.Contiguous)); // a view keeps the whole
        });
  }

  /** Whether a tensor can be split this way. */
  public boolean splits(Tensor whole) {
    long dimensions = whole.dim();
    int at = dimension < 0 ? (int) dimensions + dimension : dimension;
    return at >= 0 && at < dimensions && whole.size(at) % ranks.size() == 0;
  }

  /** The tensor whose slices the ranks have. All of them must ask for it. */
  public Tensor whole(Tensor slice) {
    return Scope.result(
        () -> {
          Tensor all = ranks.gather(slice.detach());
          try (var parts = new TensorVector()) {
            for (int i = 0; i < ranks.size(); i++) {
              parts.push_back(all.select(0, i));
            }
            return cat(parts, dimension);
          }
        });
  }

  /** The shape of the whole for that of a slice. */
  public long[] wholeShape(long[] slice) {
    long[] shape = slice.clone();
    shape[dimension < 0 ? shape.length + dimension : dimension] *= ranks.size();
    return shape;
  }
}
