package espalier.adapters.adalora;

import espalier.adapters.hira.KernelBranch;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;

/** AdaLoRA on a convolution, whose kernel is read as a matrix [out, in·k·k]. */
public final class AdaloraConvolution extends Adapter implements AdaloraFactored {

  private final Convolution layer;
  private final double scaling;
  private final KernelBranch branch;
  private final AdaloraFactors factors;

  AdaloraConvolution(AdaloraConfig config, Convolution layer, String path, Init init) {
    this.layer = layer;
    scaling = config.scaling();
    branch = new KernelBranch(layer, config.lora().dropout());
    long width = layer.weight().numel() / layer.out();
    var start = AdaloraStart.of(config, config.rankAt(path), layer.out(), width, init);
    Tensor a = parameter("lora_A", start.a());
    Tensor b = parameter("lora_B", start.b());
    factors = new AdaloraFactors(a, parameter("lora_E", start.e()), b);
  }

  @Override
  public Convolution layer() {
    return layer;
  }

  @Override
  public AdaloraFactors factors() {
    return factors;
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), this::kernel);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), this::kernel);
  }

  private SingularBranch product() {
    return new SingularBranch(scaling * scale());
  }

  private Tensor kernel(boolean withBase) {
    Tensor w = layer.originalWeight();
    Tensor delta = product().update(factors.a(), factors.e(), factors.b()).view(w.shape());
    return withBase ? wide(w).add(delta).to(w.scalar_type().intern()) : delta;
  }

  @Override
  public Tensor deltaWeight() {
    return product()
        .update(wide(factors.a()), wide(factors.e()), wide(factors.b()))
        .view(layer.weight().shape());
  }
}
