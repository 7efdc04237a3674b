package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A layer's whole weight and bias, copied, trained and saved: what {@code modules_to_save} asks
 * for. Its output replaces that of the base.
 */
public final class SavedModule extends Adapter {

  private final Adaptable layer;
  private final Tensor weight;
  private final @Nullable Tensor bias;

  SavedModule(Adaptable layer) {
    this.layer = layer;
    Tensor baseBias = layer.adapters().originalBias();
    String name = // "weight", or "" if stacked
        layer instanceof Linear ? "weight" : layer.parameters().keySet().iterator().next();
    try (var _ = new NoGradGuard()) {
      weight = parameter(name, copy(stored(layer.originalWeight())));
      bias = baseBias == null ? null : parameter("bias", copy(baseBias));
    }
  }

  private static Tensor copy(Tensor tensor) {
    return tensor.detach().clone();
  }

  // as the file has it: GPT-2's Conv1D keeps its weight as [in, out]
  private Tensor stored(Tensor logical) {
    return layer instanceof Linear linear && linear.transposed() ? logical.t() : logical;
  }

  @Override
  public Adaptable layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    return layer.base(x, stored(weight), bias);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return first(x).to(y.scalar_type().intern());
  }

  @Override
  public Tensor deltaWeight() {
    return wide(stored(weight)).sub(wide(layer.originalWeight()));
  }

  @Override
  public Tensor mergedInto(Tensor replaced) {
    return copy(stored(weight));
  }

  @Override
  public @Nullable Tensor mergedIntoBias(@Nullable Tensor replaced) {
    return bias == null ? null : copy(bias);
  }

  @Override
  public @Nullable String rowsRefusal() {
    return layer instanceof Linear || layer instanceof Embedding || layer instanceof Convolution
        ? null
        : "rows of one batch can not have different copies of a " + layer.typeName();
  }
}
