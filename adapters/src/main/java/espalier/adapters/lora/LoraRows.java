package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static org.bytedeco.pytorch.global.torch.cat;

import espalier.nn.Scope;
import espalier.nn.TensorStamp;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Rows of one batch, each with its own LoRA adapter, without taking the batch apart: the factors of
 * all adapters stand side by side, and a mask lets each row through its own.
 *
 * <pre>
 *     H = x [A₁; A₂; ...]ᵀ          [batch, time, Σr]
 *     H ⊙ mask                      sᵢ at the columns of the row's adapter i, else 0
 *     y + H [B₁, B₂, ...]ᵀ
 * </pre>
 *
 * <p>A batch that is decoded asks for the same rows at every token, so the joined factors of the
 * last rows are kept until other rows or other factors come.
 */
final class LoraRows implements AutoCloseable {

  private final Object key;
  private final Tensor a; // [Σr, in]
  private final Tensor b; // [out, Σr]
  private final Tensor mask; // [batch, 1, Σr]
  private final @Nullable Tensor bias; // [batch, 1, out]

  private LoraRows(Object key, List<LoraLinear> adapters, int[] choice, ScalarType dtype) {
    this.key = key;
    try (var _ = new PointerScope()) {
      a = Scope.own(side(adapters, l -> l.a().to(dtype), 0));
      b = Scope.own(side(adapters, l -> l.b().to(dtype), 1).contiguous());
      mask = Scope.own(mask(adapters, choice, true).to(dtype));
      bias =
          adapters.stream().allMatch(l -> l.bias() == null)
              ? null
              : Scope.own(mask(adapters, choice, false).to(dtype).matmul(biases(adapters, dtype)));
    }
  }

  /** What the factors are joined from; another key means that they must be joined anew. */
  private record Key(List<Object> factors, List<Integer> choice, ScalarType dtype) {

    static Key of(List<LoraLinear> adapters, int[] choice, ScalarType dtype) {
      List<Object> factors =
          adapters.stream()
              .<Object>map(l -> List.of(stand(l.a()), stand(l.b()), stand(l.bias()), l.scaling()))
              .toList();
      return new Key(factors, Arrays.stream(choice).boxed().toList(), dtype);
    }

    private static Object stand(@Nullable Tensor tensor) {
      return tensor == null ? List.of() : TensorStamp.of(tensor);
    }
  }

  /**
   * The joined factors of these rows: those given, if they still fit, or new ones in their place.
   *
   * @param before the last rows of the same layer, or null; closed if they do not fit
   */
  static LoraRows of(
      @Nullable LoraRows before, List<LoraLinear> adapters, int[] choice, ScalarType dtype) {
    Key key = Key.of(adapters, choice, dtype);
    if (before != null && before.key.equals(key)) {
      return before;
    }
    if (before != null) {
      before.close();
    }
    return new LoraRows(key, adapters, choice, dtype);
  }

  /** Adds each row's branch; x [batch, ..., in], y [batch, ..., out]. */
  Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = x.scalar_type().intern();
    long batch = x.size(0);
    Tensor h = rows(x).matmul(a.t());
    h = h.view(batch, -1, a.size(0)).mul(mask);
    Tensor sum =
        rows(y)
            .to(dtype)
            .addmm(h.view(-1, a.size(0)), b.t(), new Scalar(1), new Scalar(1))
            .view_as(y);
    return (bias == null ? sum : sum.view(batch, -1, y.size(-1)).add_(bias).view_as(y))
        .to(y.scalar_type().intern());
  }

  private static Tensor biases(List<LoraLinear> adapters, ScalarType dtype) {
    return side(adapters, l -> bias(l).to(dtype).unsqueeze(0), 0);
  }

  private static Tensor bias(LoraLinear adapter) {
    Tensor bias = adapter.bias();
    return bias == null ? adapter.b().new_zeros(adapter.layer().out()) : bias;
  }

  private static Tensor side(
      List<LoraLinear> adapters, Function<LoraLinear, Tensor> part, long dimension) {
    if (adapters.size() == 1) {
      return part.apply(adapters.getFirst());
    }
    var parts = new TensorVector();
    adapters.forEach(adapter -> parts.push_back(part.apply(adapter)));
    return cat(parts, dimension);
  }

  /** [batch, 1, Σr], or [batch, 1, adapters]: the scaling where a row meets its adapter. */
  private static Tensor mask(List<LoraLinear> adapters, int[] choice, boolean byRank) {
    int[] start = new int[adapters.size() + 1];
    for (int i = 0; i < adapters.size(); i++) {
      start[i + 1] = start[i] + (byRank ? (int) adapters.get(i).a().size(0) : 1);
    }
    int width = start[adapters.size()];
    double[] mask = new double[choice.length * width];
    for (int row = 0; row < choice.length; row++) {
      int own = choice[row];
      for (int k = own < 0 ? 0 : start[own]; own >= 0 && k < start[own + 1]; k++) {
        mask[row * width + k] = adapters.get(own).scaling();
      }
    }
    return Tensor.create(mask, choice.length, 1, width);
  }

  @Override
  public void close() {
    a.close();
    b.close();
    mask.close();
    if (bias != null) {
      bias.close();
    }
  }
}
