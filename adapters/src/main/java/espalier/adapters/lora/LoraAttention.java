package espalier.adapters.lora;

import espalier.nn.AttentionProjection;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * LoRA on one of the two products of an attention with a packed weight. Dropout has no place here,
 * as the reference computes with W + s·B·A.
 *
 * <p>The output product computes with W + 2·s·B·A, of which only one half has gradients of A and B:
 * the reference adds the update with gradients and then merges it once more without, in use and in
 * training, so the adapters that exist have learned it that way.
 */
public final class LoraAttention extends LoraLinear {

  private final String path;

  LoraAttention(LoraConfig config, AttentionProjection layer, String path, LoraFactors factors) {
    super(config, layer, path, factors);
    this.path = path;
    rescale(config);
  }

  /** Takes over the factor that a config gives. */
  void rescale(LoraConfig config) {
    double scaling = config.scalingAt(path);
    rescale(packed() ? scaling : 2 * scaling);
  }

  private boolean packed() {
    return ((AttentionProjection) layer()).packed();
  }

  @Override
  public Tensor first(Tensor x) {
    return packed() ? super.first(x) : forward(x, layer().base(x));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    if (packed()) {
      return super.forward(x, y);
    }
    ScalarType dtype = y.scalar_type().intern();
    Tensor learning = product(x, a(), b(), dtype);
    Tensor still = product(x, a().detach(), b().detach(), dtype);
    return y.add(learning.add(still), new Scalar(scaling() / 2));
  }

  private static Tensor product(Tensor x, Tensor a, Tensor b, ScalarType dtype) {
    return x.matmul(a.to(x.scalar_type().intern()).t()).to(dtype).matmul(b.to(dtype).t());
  }

  @Override
  public String rowsRefusal() {
    return "rows of one batch can not have different adapters on packed attention;"
        + " run one batch an adapter";
  }
}
