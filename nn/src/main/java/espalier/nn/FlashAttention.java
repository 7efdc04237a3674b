package espalier.nn;

import static espalier.nn.DotProductAttention.byPosition;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Dispatcher;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.OperatorHandle;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * libtorch's fused attention for CPUs, forward and backward, in float32 or wider.
 *
 * <p>Its kernels spread heads over threads and multiply small blocks in each, and for each of these
 * OpenBLAS would call its own threads together: forward and backward of 4 x 256 tokens took 41 to
 * 54 ms so and 18 to 23 ms with the BLAS kept on the calling threads, which only who calls the
 * kernels himself can arrange around both. Half precision is widened, which took 32 ms by batched
 * products where the processor has no instructions for it.
 *
 * <p>Backward keeps q, k, v, the output and a number a query; heads that share a key head get a
 * copy of it each while a kernel runs.
 *
 * @see <a href="https://arxiv.org/abs/2307.08691">FlashAttention-2, algorithms 1 and 2</a>
 */
final class FlashAttention {

  /** The operators, which have no Java methods of their own. */
  private static final class Kernels {
    static final OperatorHandle FORWARD;
    static final OperatorHandle BACKWARD;

    static {
      try (var _ = new PointerScope()) { // whatever scope is open here must not free these
        String name = "aten::_scaled_dot_product_flash_attention_for_cpu";
        Dispatcher all = Dispatcher.singleton();
        FORWARD = all.findSchemaOrThrow(name, "").retainReference();
        BACKWARD = all.findSchemaOrThrow(name + "_backward", "").retainReference();
      }
    }
  }

  /** Whether the kernels take such inputs and are the fast way for them. */
  static boolean fit(Tensor q, Tensor v) {
    return q.is_cpu()
        && q.size(3) == v.size(3)
        && (!HalfPrecision.isHalf(q) || HalfPrecision.emulated(q));
  }

  private final boolean causal;
  private final double scale;

  private FlashAttention(boolean causal, double scale) {
    this.causal = causal;
    this.scale = scale;
  }

  /**
   * As {@link DotProductAttention#of}.
   *
   * @param causal whether query i sees the keys up to i, for as many queries as keys
   * @param bias added to the scores, [batch or 1, heads or 1, T or 1, S], or null
   */
  static Tensor of(
      Tensor q, Tensor k, Tensor v, boolean causal, @Nullable Tensor bias, double scale) {
    var attention = new FlashAttention(causal, scale);
    Tensor y = Scope.room(q, byPosition(q)).transpose(1, 2);
    Tensor sums = Scope.room(wide(q), q, q.size(0), q.size(1), q.size(2));
    try (var _ = new NoGradGuard();
        var scratch = Scratch.frame();
        var _ = new PointerScope()) {
      attention.forward(q, k, v, bias, y, sums, scratch);
    }
    var saved = new ArrayList<>(List.of(q, k, v, y, sums));
    if (bias != null) {
      saved.add(bias);
    }
    return CustomFunction.join(
        y, List.of(q, k, v), saved, (g, kept) -> attention.backward(g, kept));
  }

  /** Writes the output [batch, heads, T, D] and the logarithms of the sums [batch, heads, T]. */
  private void forward(
      Tensor q, Tensor k, Tensor v, @Nullable Tensor bias, Tensor y, Tensor sums, Scratch scratch) {
    long group = q.size(1) / k.size(1);
    ScalarType wide = wide(q);
    var stack = new IValueVector();
    stack.push_back(new IValue(scratch.as(q, wide)));
    stack.push_back(new IValue(forEachHead(k, group, wide, scratch)));
    stack.push_back(new IValue(forEachHead(v, group, wide, scratch)));
    call(Kernels.FORWARD, stack, bias, wide);
    y.copy_(stack.get(0).toTensor());
    sums.copy_(stack.get(1).toTensor());
  }

  private List<@Nullable Tensor> backward(Tensor g, List<Tensor> saved) {
    Tensor q = saved.get(0);
    Tensor k = saved.get(1);
    Tensor v = saved.get(2);
    Tensor bias = saved.size() > 5 ? saved.get(5) : null;
    long group = q.size(1) / k.size(1);
    ScalarType wide = wide(q);
    Tensor forQ = q.new_empty(byPosition(q)).transpose(1, 2);
    Tensor forK = k.new_empty(byPosition(k)).transpose(1, 2);
    Tensor forV = v.new_empty(byPosition(v)).transpose(1, 2);
    try (var scratch = Scratch.frame();
        var _ = new PointerScope()) {
      var stack = new IValueVector();
      stack.push_back(new IValue(scratch.as(g, wide)));
      stack.push_back(new IValue(scratch.as(q, wide)));
      stack.push_back(new IValue(forEachHead(k, group, wide, scratch)));
      stack.push_back(new IValue(forEachHead(v, group, wide, scratch)));
      stack.push_back(new IValue(scratch.as(saved.get(3), wide)));
      stack.push_back(new IValue(saved.get(4)));
      call(Kernels.BACKWARD, stack, bias, wide);
      forQ.copy_(stack.get(0).toTensor());
      sumOfHeads(stack.get(1).toTensor(), forK);
      sumOfHeads(stack.get(2).toTensor(), forV);
    }
    return Arrays.asList(forQ, forK, forV);
  }

  /**
   * Calls a kernel with what both want behind their tensors; the answers take the stack's place.
   */
  private void call(
      OperatorHandle kernel, IValueVector stack, @Nullable Tensor bias, ScalarType wide) {
    stack.push_back(new IValue(0.0)); // no dropout
    stack.push_back(new IValue(causal));
    stack.push_back(bias == null ? new IValue() : new IValue(bias.to(wide)));
    stack.push_back(new IValue(scale));
    try (var _ = BlasThreads.one()) {
      kernel.callBoxed(stack);
    }
  }

  /** [batch, kvHeads, S, D] to [batch, heads, S, D] in a dtype. */
  private static Tensor forEachHead(Tensor t, long group, ScalarType dtype, Scratch scratch) {
    return group == 1
        ? scratch.as(t, dtype)
        : scratch
            .empty(dtype, t, t.size(0), t.size(2), t.size(1), group, t.size(3))
            .copy_(t.transpose(1, 2).unsqueeze(3))
            .flatten(2, 3)
            .transpose(1, 2);
  }

  /** The gradient of each head, [batch, heads, S, D], summed into that of its key head. */
  private static void sumOfHeads(Tensor each, Tensor into) {
    long kvHeads = into.size(1);
    into.copy_(
        each.size(1) == kvHeads
            ? each
            : each.unflatten(1, new long[] {kvHeads, each.size(1) / kvHeads}).sum(2));
  }

  private static ScalarType wide(Tensor t) {
    return HalfPrecision.widened(t.scalar_type().intern());
  }
}
