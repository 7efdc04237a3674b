package espalier.adapters.adalora;

import espalier.adapters.abba.LinearBranch;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * AdaLoRA on a linear layer: ΔW = s · B·diag(E)·A, in the form of a singular value decomposition,
 * whose ranks can be told apart by their importance, with s = alpha / init_r.
 *
 * @see <a href="https://arxiv.org/abs/2303.10512">Adaptive Budget Allocation for
 *     Parameter-Efficient Fine-Tuning</a>
 */
public final class AdaloraLinear extends Adapter implements AdaloraFactored {

  private final Linear layer;
  private final double scaling;
  private final LinearBranch branch;
  private final AdaloraFactors factors;

  AdaloraLinear(AdaloraConfig config, Linear layer, String path, Init init) {
    this.layer = layer;
    scaling = config.scaling();
    branch = new LinearBranch(layer, config.lora().dropout());
    var start = AdaloraStart.of(config, config.rankAt(path), layer.out(), layer.in(), init);
    Tensor a = parameter("lora_A", start.a());
    Tensor b = parameter("lora_B", start.b());
    factors = new AdaloraFactors(a, parameter("lora_E", start.e()), b);
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public AdaloraFactors factors() {
    return factors;
  }

  private SingularBranch product() {
    return new SingularBranch(scaling * scale());
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), factors.list(), product());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), factors.list(), product());
  }

  @Override
  public Tensor deltaWeight() {
    return product().update(wide(factors.a()), wide(factors.e()), wide(factors.b()));
  }
}
