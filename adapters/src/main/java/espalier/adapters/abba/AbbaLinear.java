package espalier.adapters.abba;

import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * ABBA on a linear layer: ΔW = s · (B₁A₁) ⊙ (B₂A₂) with s = √(alpha1 · alpha2). As in HiRA a
 * low-rank matrix is spread by the Hadamard product, but what it is spread over is trained too.
 *
 * @see KhatriRao
 * @see <a href="https://arxiv.org/abs/2505.14238">ABBA, ICLR 2026</a>
 */
public final class AbbaLinear extends Adapter {

  private final Linear layer;
  private final double scaling;
  private final LinearBranch branch;
  private final List<Tensor> factors; // B₁ [out, r1], A₁ [r1, in], B₂ [out, r2], A₂ [r2, in]

  AbbaLinear(AbbaConfig config, Linear layer, Init init) {
    this.layer = layer;
    scaling = Math.sqrt(config.alpha1() * config.alpha2());
    branch = new LinearBranch(layer, config.dropout());
    AbbaFactors start = AbbaFactors.start(config, layer, init);
    Tensor a1 = parameter("abba_A1", start.a1());
    Tensor b1 = parameter("abba_B1", start.b1());
    Tensor a2 = parameter("abba_A2", start.a2());
    Tensor b2 = parameter("abba_B2", start.b2());
    factors = List.of(b1, a1, b2, a2);
  }

  @Override
  public Linear layer() {
    return layer;
  }

  /** The factor on the branch: √(alpha1 · alpha2), times the runtime scale. */
  public double scaling() {
    return scaling * scale();
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), factors, new KhatriRao(scaling()));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), factors, new KhatriRao(scaling()));
  }

  @Override
  public Tensor deltaWeight() {
    Tensor first = wide(factors.get(0)).mm(wide(factors.get(1)));
    return times(first.mul_(wide(factors.get(2)).mm(wide(factors.get(3)))), scaling());
  }
}
