package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.cat;

import java.util.List;
import java.util.function.Function;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Rows of one batch, each with its own LoRA adapter, without taking the batch apart: the factors of
 * all adapters stand side by side, and a mask lets each row through its own.
 *
 * <pre>
 *     H = x [A₁; A₂; ...]ᵀ          [batch, time, Σr]
 *     H ⊙ mask                      sᵢ at the columns of the row's adapter i, else 0
 *     y + H [B₁, B₂, ...]ᵀ
 * </pre>
 */
final class LoraRows {

  private LoraRows() {}

  static Tensor forward(Tensor x, Tensor y, List<LoraLinear> adapters, int[] choice) {
    ScalarType dtype = x.scalar_type().intern();
    long batch = x.size(0);
    Tensor a = side(adapters, l -> l.a().to(dtype), 0); // [Σr, in]
    Tensor b = side(adapters, l -> l.b().to(dtype), 1); // [out, Σr]
    Tensor h = LoraLinear.rows(x).matmul(a.t());
    h = h.view(batch, -1, a.size(0)).mul(mask(adapters, choice, true).to(dtype));
    Tensor sum =
        LoraLinear.rows(y)
            .to(dtype)
            .addmm(h.view(-1, a.size(0)), b.t(), new Scalar(1), new Scalar(1))
            .view_as(y);
    if (adapters.stream().noneMatch(l -> l.bias() != null)) {
      return sum.to(y.scalar_type().intern());
    }
    Tensor biases =
        side(adapters, l -> (l.bias() == null ? zeroBias(l) : bias(l)).to(dtype).unsqueeze(0), 0);
    Tensor own = mask(adapters, choice, false).to(dtype).matmul(biases); // [batch, 1, out]
    return sum.view(batch, -1, y.size(-1)).add_(own).view_as(y).to(y.scalar_type().intern());
  }

  private static Tensor bias(LoraLinear adapter) {
    Tensor bias = adapter.bias();
    return bias == null ? zeroBias(adapter) : bias;
  }

  private static Tensor zeroBias(LoraLinear adapter) {
    return adapter.b().new_zeros(adapter.layer().out());
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
}
