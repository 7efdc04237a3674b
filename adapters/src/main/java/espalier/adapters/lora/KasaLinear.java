package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.eye;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * KaSA on a linear layer: y = W' x + s·B·diag(d)·A·x, where W' is the base without its r smallest
 * singular components. The base keeps what is left of it also without the adapter.
 *
 * @see <a href="https://arxiv.org/abs/2412.06071">KaSA: Knowledge-Aware Singular-Value
 *     Adaptation</a>
 */
public final class KasaLinear extends LoraLinear {

  private final Tensor diagonal; // [r]

  KasaLinear(LoraConfig config, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    int r = config.rankAt(path);
    diagonal = parameter("lora_diag", init.normal(1, r));
    Tensor left = residual();
    Tensor w = left == null ? layer.originalWeight() : left;
    leaves(Scope.result(() -> truncated(w, r, path)));
  }

  private static Tensor truncated(Tensor w, int r, String path) {
    long k = Math.min(w.size(0), w.size(1));
    if (r >= k) {
      throw new ConfigException(
          "%s is [%d, %d] and r is %d, but kasa_config drops r of its %d components and needs one left; use a smaller r"
              .formatted(path, w.size(0), w.size(1), r, k));
    }
    Tensor full = wide(w);
    Svd parts = Svd.of(full);
    Tensor u = parts.u().narrow(1, k - r, r);
    Tensor dropped = u.mul(parts.s().narrow(0, k - r, r)); // [out, r]
    return addmm(full, dropped, parts.vt().narrow(0, k - r, r), one(), new Scalar(-1))
        .to(w.scalar_type().intern());
  }

  @Override
  Tensor hidden(Tensor kept) {
    return super.hidden(kept).mul(diagonal.to(kept.scalar_type().intern()));
  }

  @Override
  Tensor wideA() {
    return super.wideA().mul(wide(diagonal).unsqueeze(1));
  }

  /**
   * What the method adds to the loss for this layer: β·Σd² + γ·(‖BᵀB - I‖ + ‖A Aᵀ - I‖), Frobenius
   * norms.
   *
   * @param beta weight of the diagonal's square
   * @param gamma weight of the factors' departure from orthogonality
   * @return a scalar, float32 unless the adapter is wider, with gradients
   */
  public Tensor penalty(double beta, double gamma) {
    Tensor wideB = wide(b());
    Tensor wideA = wide(a());
    Tensor apart = fromIdentity(wideB.t().matmul(wideB)).add(fromIdentity(wideA.matmul(wideA.t())));
    return times(wide(diagonal).square().sum(), beta).add(apart, new Scalar(gamma));
  }

  private static Tensor fromIdentity(Tensor gram) {
    ScalarType dtype = gram.scalar_type().intern();
    return gram.sub(eye(gram.size(0)).to(gram.device(), dtype)).norm();
  }
}
