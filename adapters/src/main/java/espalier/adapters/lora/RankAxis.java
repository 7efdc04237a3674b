package espalier.adapters.lora;

import espalier.nn.Adapter;
import java.util.Arrays;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Where the rank lies in one tensor of a LoRA adapter.
 *
 * @param dimension the dimension of the rank
 * @param blocks parts that each have the rank for themselves, such as experts
 * @param blocksFirst whether, in that dimension, the block is the outer index and the rank the
 *     inner
 * @param groups groups of a convolution, each of which has a part of the rank
 */
record RankAxis(int dimension, long blocks, boolean blocksFirst, long groups) {

  /** The axis of a tensor, or null if the rank does not matter to it. */
  static @Nullable RankAxis of(Adapter adapter, String name) {
    boolean a = name.equals("lora_A.weight") || name.equals("lora_embedding_A");
    boolean b = name.equals("lora_B.weight") || name.equals("lora_embedding_B");
    if (!a && !b) {
      return name.equals("lora_diag") ? new RankAxis(0, 1, true, 1) : null;
    }
    return switch (adapter) {
      case LoraExperts lora -> new RankAxis(a ? 0 : 1, lora.layer().experts(), a, 1);
      case LoraConvolution lora -> {
        long groups = lora.layer().geometry().groups();
        yield new RankAxis(a ? 0 : 1, a ? groups : 1, true, groups);
      }
      default -> new RankAxis(a ? 0 : 1, 1, true, 1);
    };
  }

  /** The rank of an adapter, or null if it has no factors of its own. */
  static @Nullable Integer rank(Adapter adapter) {
    for (Map.Entry<String, Tensor> tensor : adapter.state().entrySet()) {
      RankAxis axis = of(adapter, tensor.getKey());
      if (axis != null) {
        return (int) (axis.size(tensor.getValue()) * axis.groups());
      }
    }
    return null;
  }

  /** Whether the dimension can be taken apart into the blocks. */
  boolean divides(Tensor tensor) {
    return tensor.dim() > dimension && tensor.size(dimension) % blocks == 0;
  }

  /** The rank, or a group's part of it. */
  long size(Tensor tensor) {
    return tensor.size(dimension) / blocks;
  }

  /** Whether two tensors differ in nothing but the rank. */
  boolean alike(Tensor one, Tensor two) {
    long[] a = one.shape();
    long[] b = two.shape();
    if (a.length != b.length) {
      return false;
    }
    b[dimension] = a[dimension];
    return Arrays.equals(a, b);
  }

  /** The tensor with zeros up to a size of the rank. */
  Tensor padded(Tensor tensor, long size) {
    if (size(tensor) == size) {
      return tensor;
    }
    long[] outer = blocksFirst ? new long[] {blocks, -1} : new long[] {-1, blocks};
    int rank = dimension + (blocksFirst ? 1 : 0);
    Tensor parts = tensor.unflatten(dimension, outer);
    long[] shape = parts.shape();
    shape[rank] = size;
    Tensor wide = tensor.new_zeros(shape);
    wide.narrow(rank, 0, parts.size(rank)).copy_(parts);
    return wide.flatten(dimension, dimension + 1);
  }
}
