package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.AttentionMask;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Which keys the queries of one forward see.
 *
 * @param mask over the keys that are looked at
 * @param latest how many keys, counted from the end, are looked at at all; 0 for all
 */
record Sight(AttentionMask mask, long latest) {

  /** Everything, or everything up to the query, without a tensor for it. */
  private static Sight free(boolean causal) {
    return new Sight(causal ? new AttentionMask.Causal() : new AttentionMask.Full(), 0);
  }

  /**
   * The rule for attention of a stack to itself.
   *
   * @param window how many of the latest keys a query sees, or 0 for all
   * @param bias [1, heads, T, S] to add to the scores, or null
   */
  static Sight of(
      StackInputs in, boolean causal, int window, @Nullable Tensor bias, ScalarType dtype) {
    long past = in.past();
    long keys = past + in.time();
    boolean far = window > 0 && keys > window;
    Tensor visible = in.visible();
    if (in.time() == 1 && causal) {
      return newest(keys, far ? window : 0, visible, bias, dtype);
    }
    if (visible == null && in.reach() == null && bias == null && !far) {
      return free(causal);
    }
    Tensor seen = rule(in, causal, far ? window : 0);
    return new Sight(additive(seen, bias, dtype), 0);
  }

  /** One query sees all keys but padding; a window is a shorter view of them. */
  private static Sight newest(
      long keys, long window, @Nullable Tensor visible, @Nullable Tensor bias, ScalarType dtype) {
    long looked = window == 0 ? keys : window;
    if (visible == null && bias == null) {
      return new Sight(new AttentionMask.Full(), window);
    }
    Tensor seen = visible == null ? null : forKeys(visible.narrow(1, keys - looked, looked));
    Tensor near = bias == null ? null : bias.narrow(3, keys - looked, looked);
    return new Sight(additive(seen, near, dtype), window);
  }

  /** What a stack's queries see of other states: all but padding. */
  static AttentionMask across(@Nullable Tensor visible, ScalarType dtype) {
    return visible == null ? new AttentionMask.Full() : additive(forKeys(visible), null, dtype);
  }

  private static Tensor rule(StackInputs in, boolean causal, long window) {
    Tensor reach = in.reach();
    if (reach != null) {
      return packed(reach, window);
    }
    long past = in.past();
    long keys = past + in.time();
    var options = in.ids().options();
    Tensor query = arange(new Scalar(past), new Scalar(keys), options).unsqueeze(1); // [T, 1]
    Tensor key = arange(new Scalar(keys), options).unsqueeze(0); // [1, S]
    Tensor seen =
        causal
            ? key.le(query)
            : ones(
                new long[] {in.time(), keys},
                options.dtype(new ScalarTypeOptional(ScalarType.Bool)));
    if (window > 0) {
      seen.logical_and_(key.gt(query.sub(new Scalar(window))));
    }
    seen = seen.unsqueeze(0).unsqueeze(0);
    Tensor visible = in.visible();
    if (visible != null) {
      seen = seen.logical_and(forKeys(visible));
    }
    return seen;
  }

  private static Tensor packed(Tensor reach, long window) {
    Tensor seen = PackedRows.seen(reach);
    if (window > 0) {
      Tensor position = PackedRows.positions(reach);
      Tensor key = position.unsqueeze(1);
      Tensor query = position.unsqueeze(2);
      seen.logical_and_(key.gt(query.sub(new Scalar(window))));
    }
    return seen.unsqueeze(1);
  }

  private static Tensor forKeys(Tensor visible) {
    return visible.unsqueeze(1).unsqueeze(1); // [B, 1, 1, S]
  }

  /**
   * @param seen [B or 1, 1, T or 1, S] bool, or null for all
   */
  private static AttentionMask additive(
      @Nullable Tensor seen, @Nullable Tensor bias, ScalarType dtype) {
    if (seen == null) {
      return bias == null ? new AttentionMask.Full() : new AttentionMask.Additive(bias.to(dtype));
    }
    // The lowest number and not -inf: a padded query that sees nothing gets the mean of all
    // values, as in the reference, and not NaN.
    var lowest = new Scalar(lowest(dtype));
    Tensor hidden = seen.logical_not();
    return new AttentionMask.Additive(
        bias == null
            ? zeros(seen.shape(), seen.options().dtype(new ScalarTypeOptional(dtype)))
                .masked_fill_(hidden, lowest)
            : bias.to(dtype).masked_fill(hidden, lowest));
  }

  private static double lowest(ScalarType dtype) {
    return switch (dtype) {
      case Half -> -65504;
      case BFloat16 -> -0x1.fep127;
      case Double -> -Double.MAX_VALUE;
      default -> -Float.MAX_VALUE;
    };
  }
}
