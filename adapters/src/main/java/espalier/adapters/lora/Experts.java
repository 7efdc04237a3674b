package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.stack;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Scope;
import espalier.nn.TensorStamp;
import java.util.Collection;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The adapters that a router chooses from on one layer, with a prototype each: the direction of
 * inputs that its update answers to most, which is the first right singular vector of B·A.
 */
final class Experts implements AutoCloseable {

  private final List<LoraLinear> all;
  private final List<TensorStamp> stamps;
  private final Tensor prototypes; // [E, in]
  private final Tensor a; // [Σr, in], in the dtype of the layer
  private final Tensor b; // [out, Σr]

  /**
   * Computes the prototypes.
   *
   * @param start draws the vector that the power iteration starts from, for a number of inputs
   */
  Experts(List<LoraLinear> all, Function<Long, Tensor> start) {
    this.all = List.copyOf(all);
    stamps = stamps(all);
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var vectors = new TensorVector();
      all.forEach(e -> vectors.push_back(prototype(e.a(), e.b(), start.apply(e.a().size(1)))));
      prototypes = Scope.own(stack(vectors));
      ScalarType dtype = all.getFirst().layer().dtype();
      a = Scope.own(together(all, LoraLinear::a, 0).to(dtype));
      b = Scope.own(together(all, LoraLinear::b, 1).to(dtype));
    }
  }

  /**
   * The first right singular vector of B·A, up to its sign, by fifteen steps of the power iteration
   * v ← Aᵀ(BᵀB)(A v), which never forms the product.
   *
   * @param a [r, in]
   * @param b [out, r]
   * @param start [in]
   * @return [in], float32 or wider, of norm 1
   */
  static Tensor prototype(Tensor a, Tensor b, Tensor start) {
    Tensor aw = LoraLinear.widened(a);
    Tensor bw = LoraLinear.widened(b);
    Tensor square = bw.t().matmul(bw); // [r, r]
    Tensor v = normalised(start.to(aw.scalar_type().intern()));
    for (int i = 0; i < 15; i++) {
      v = normalised(aw.t().matmul(square.matmul(aw.matmul(v))));
    }
    return v;
  }

  private static Tensor normalised(Tensor v) {
    return v.div(v.norm().add(new Scalar(1e-8)));
  }

  private static Tensor together(
      Collection<LoraLinear> all, Function<LoraLinear, Tensor> factor, long dimension) {
    var parts = new TensorVector();
    all.forEach(expert -> parts.push_back(factor.apply(expert)));
    return cat(parts, dimension);
  }

  private static List<TensorStamp> stamps(List<LoraLinear> all) {
    return all.stream()
        .flatMap(e -> List.of(TensorStamp.of(e.a()), TensorStamp.of(e.b())).stream())
        .toList();
  }

  /** Whether these are still the experts, and their factors what they were. */
  boolean are(List<LoraLinear> present) {
    return all.equals(present) && stamps.equals(stamps(present));
  }

  /** One row for each expert, [E, in]. */
  Tensor prototypes() {
    return prototypes;
  }

  /** Expert of each column of the joined A. */
  private Tensor owners() {
    return tensor(
        IntStream.range(0, all.size())
            .flatMap(e -> IntStream.range(0, (int) all.get(e).a().size(0)).map(_ -> e))
            .asLongStream()
            .toArray());
  }

  /**
   * The mixture of what the experts add, Σ cₑ·sₑ·Bₑ·Aₑ·x.
   *
   * @param rows [n, in]
   * @param coefficients [n, E]
   * @return [n, out] in the dtype of {@code rows}
   */
  Tensor mixture(Tensor rows, Tensor coefficients) {
    ScalarType dtype = rows.scalar_type().intern();
    boolean learning = GradMode.is_enabled() && all.stream().anyMatch(e -> e.a().requires_grad());
    Tensor down = learning ? together(all, LoraLinear::a, 0) : a;
    Tensor up = learning ? together(all, LoraLinear::b, 1) : b;
    double[] scales = all.stream().mapToDouble(LoraLinear::scaling).toArray();
    Tensor scaled =
        coefficients.mul(
            Tensor.create(scales, scales.length).to(coefficients.scalar_type().intern()));
    Tensor h = LoraLinear.product(rows, down).mul(scaled.to(dtype).index_select(1, owners()));
    Tensor sum = LoraLinear.product(h, up);
    for (int e = 0; e < all.size(); e++) {
      Tensor bias = all.get(e).bias();
      if (bias != null) {
        sum = sum.add(scaled.narrow(1, e, 1).to(dtype).mul(bias.to(dtype)));
      }
    }
    return sum;
  }

  @Override
  public void close() {
    prototypes.close();
    a.close();
    b.close();
  }
}
