package espalier.nn;

import static org.bytedeco.pytorch.global.torch.empty_like;
import static org.bytedeco.pytorch.global.torch.mm_out;
import static org.bytedeco.pytorch.global.torch.mul_out;

import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A linear layer and a {@link Branch} beside it as one autograd node, which keeps x and the factors
 * of the branch and computes what lies between again in backward. Neither the output nor the
 * gradient of x is ever held twice: the branch adds to those of the base.
 */
public final class BranchProduct {

  /** What a method adds to a linear layer: x Mᵀ, with M [out, in] made of some factors. */
  public interface Branch {

    /**
     * Adds x Mᵀ to y. Runs without gradients.
     *
     * @param x [T, in]
     * @param factors in the dtype of x
     * @param y [T, out] in the dtype of x, written to
     */
    void add(Tensor x, List<Tensor> factors, Tensor y);

    /**
     * The gradients of the factors. Runs without gradients.
     *
     * @param g gradient of y [T, out]
     * @param x [T, in]
     * @param factors all of one dtype, that of g and x
     * @param dx gradient of x [T, in], to be added to, or null if none is wanted
     * @param wanted for each factor whether its gradient is wanted
     * @return one gradient a factor, null for one that is not wanted
     */
    List<@Nullable Tensor> backward(
        Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted);
  }

  private BranchProduct() {}

  /**
   * The output of a layer and a branch together: x Wᵀ + bias + x Mᵀ.
   *
   * @param x [T, in]
   * @return [T, out] in the dtype of x
   */
  public static Tensor whole(Linear base, Tensor x, List<Tensor> factors, Branch branch) {
    return whole(base, x, base.bias(), factors, branch, null);
  }

  /**
   * The same with a bias of the caller's, and all of it multiplied before it is rounded: in half
   * precision a factor so near 1 that it moves no number by a digit would be lost after.
   *
   * @param bias [out], in the place of the layer's own, or null for none
   * @param scale [out] in float32 or wider, without a gradient, or null for none
   */
  public static Tensor whole(
      Linear base,
      Tensor x,
      @Nullable Tensor bias,
      List<Tensor> factors,
      Branch branch,
      @Nullable Tensor scale) {
    if (base.quantised() != null || trains(base.weight()) || trains(bias)) {
      // then it has a backward of its own
      return into(base.withBias(x, bias), x, factors, branch, scale);
    }
    boolean withX = x.requires_grad();
    boolean[] wanted = wanted(factors);
    List<Tensor> inputs = with(List.of(x), factors);
    List<Tensor> beside = scale == null ? List.of(base.weight()) : List.of(base.weight(), scale);
    int own = inputs.size();
    return CustomFunction.apply(
        inputs,
        with(inputs, beside),
        () -> value(base, x, base.weight(), bias, (in, y) -> add(branch, in, factors, y, scale)),
        (g, saved) ->
            backward(
                g,
                saved.subList(0, own),
                withX,
                saved.get(own),
                saved.size() > own + 1 ? saved.get(own + 1) : null,
                wanted,
                branch));
  }

  /**
   * x Wᵀ + bias without a graph, in memory that backward may keep.
   *
   * @param x [T, in]
   * @param w [out, in]
   * @param bias [out], or null
   * @return [T, out] in the dtype of x
   */
  public static Tensor value(Linear base, Tensor x, Tensor w, @Nullable Tensor bias) {
    return value(base, x, w, bias, (_, _) -> {});
  }

  private static Tensor value(
      Linear base,
      Tensor x,
      Tensor w,
      @Nullable Tensor bias,
      BiConsumer<Tensor, Tensor> alsoAdded) {
    long[] shape = {x.size(0), w.size(0)};
    ScalarType dtype = computed(x);
    try (var scratch = Scratch.frame()) {
      if (dtype == x.scalar_type().intern()) {
        return Scope.result(
            () -> sum(base, x, scratch.as(w, dtype), bias, alsoAdded, () -> Scope.room(x, shape)));
      }
      return HalfPrecision.rounded(
          Scope.room(x, shape),
          () ->
              sum(
                  base,
                  scratch.as(x, dtype),
                  scratch.as(w, dtype),
                  bias,
                  alsoAdded,
                  () -> scratch.empty(dtype, x, shape)));
    }
  }

  /** The same where x and W have one dtype. */
  private static Tensor sum(
      Linear base,
      Tensor x,
      Tensor w,
      @Nullable Tensor bias,
      BiConsumer<Tensor, Tensor> alsoAdded,
      Supplier<Tensor> room) {
    Tensor y = base.into(x, w, bias == null ? null : bias.to(x.scalar_type().intern()), room);
    alsoAdded.accept(x, y);
    return y;
  }

  private static void add(
      Branch branch, Tensor x, List<Tensor> factors, Tensor y, @Nullable Tensor scale) {
    branch.add(x, cast(factors, x.scalar_type().intern()), y);
    if (scale != null) {
      y.mul_(scale);
    }
  }

  /**
   * Adds x Mᵀ to y.
   *
   * @param y [T, out], written to; autograd must not need what it was
   * @param x [T, in]
   * @return y
   */
  public static Tensor into(Tensor y, Tensor x, List<Tensor> factors, Branch branch) {
    return into(y, x, factors, branch, null);
  }

  private static Tensor into(
      Tensor y, Tensor x, List<Tensor> factors, Branch branch, @Nullable Tensor scale) {
    boolean withX = x.requires_grad();
    boolean[] wanted = wanted(factors);
    try (var _ = new NoGradGuard();
        var scratch = Scratch.frame();
        var _ = new PointerScope()) {
      ScalarType dtype = computed(y);
      Tensor sum = scratch.as(y, dtype);
      add(branch, scratch.as(x, dtype), factors, sum, scale);
      if (dtype != y.scalar_type().intern()) {
        y.copy_(sum);
      }
    }
    List<Tensor> saved = with(List.of(x), factors);
    return CustomFunction.join(
        y,
        with(List.of(y), saved),
        scale == null ? saved : with(saved, List.of(scale)),
        (g, kept) -> {
          int own = 1 + wanted.length;
          Tensor before = scale == null ? g : g.mul(kept.get(own)).to(g.scalar_type().intern());
          List<@Nullable Tensor> all =
              backward(before, kept.subList(0, own), withX, null, null, wanted, branch);
          all.addFirst(before);
          return all;
        });
  }

  /**
   * The gradients of x and of the factors.
   *
   * @param w the weight beside the branch, or null if the gradient through it goes another way
   * @param scale what both were multiplied by, or null
   */
  private static List<@Nullable Tensor> backward(
      Tensor g,
      List<Tensor> saved,
      boolean withX,
      @Nullable Tensor w,
      @Nullable Tensor scale,
      boolean[] wanted,
      Branch branch) {
    ScalarType dtype = computed(g);
    Tensor x = saved.getFirst();
    List<Tensor> factors = saved.subList(1, saved.size());
    Tensor room = withX ? empty_like(x) : null;
    var all = new ArrayList<@Nullable Tensor>();
    all.add(room);
    try (var scratch = Scratch.frame()) {
      Tensor wide = scratch.as(g, dtype);
      if (scale != null) {
        Tensor scaled = scratch.empty(dtype, g, g.shape());
        mul_out(scaled, wide, scale);
        wide = scaled;
      }
      boolean rounds = x.scalar_type().intern() != dtype;
      Tensor dx = room != null && rounds ? scratch.empty(dtype, x, x.shape()) : room;
      if (dx != null) {
        if (w == null) {
          dx.zero_();
        } else {
          mm_out(dx, wide, scratch.as(w, dtype));
        }
      }
      List<@Nullable Tensor> ofFactors =
          branch.backward(wide, scratch.as(x, dtype), cast(factors, dtype), dx, wanted);
      if (room != null && rounds) {
        room.copy_(dx);
      }
      for (int i = 0; i < wanted.length; i++) {
        all.add(as(factors.get(i), ofFactors.get(i)));
      }
    }
    return all;
  }

  /**
   * The dtype to compute in: half precision that would be emulated is widened, where there are
   * enough rows to pay for widening the weight.
   */
  private static ScalarType computed(Tensor rows) {
    return HalfPrecision.emulated(rows) && rows.size(0) >= 16
        ? ScalarType.Float
        : rows.scalar_type().intern();
  }

  // The factors are cast and not x, where there is a choice: they are small and x is not.
  private static List<Tensor> cast(List<Tensor> factors, ScalarType dtype) {
    return factors.stream().map(factor -> factor.to(dtype)).toList();
  }

  private static @Nullable Tensor as(Tensor input, @Nullable Tensor gradient) {
    return gradient == null ? null : gradient.to(input.scalar_type().intern());
  }

  private static boolean[] wanted(List<Tensor> factors) {
    var wanted = new boolean[factors.size()];
    for (int i = 0; i < wanted.length; i++) {
      wanted[i] = factors.get(i).requires_grad();
    }
    return wanted;
  }

  private static boolean trains(@Nullable Tensor parameter) {
    return parameter != null && parameter.requires_grad();
  }

  private static List<Tensor> with(List<Tensor> some, List<Tensor> more) {
    var all = new ArrayList<>(some);
    all.addAll(more);
    return all;
  }
}
