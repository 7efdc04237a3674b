package espalier.adapters.lora;

import espalier.nn.Convolution;
import espalier.nn.Init;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * DoRA on a convolution: m [1, out, 1...] scales the channels of what the summed kernel gives, and
 * n are the lengths of its slices [in, k...].
 */
public final class DoraConvolution extends LoraConvolution {

  private final RowNorms norms = new RowNorms(() -> layer().originalWeight().flatten(1, -1));
  private final Magnitude magnitude;

  DoraConvolution(LoraConfig config, Convolution layer, String path, Init init) {
    super(config, layer, path, init);
    Tensor m = init.isBlank() ? init.zero(layer.out()) : lengths();
    magnitude =
        new Magnitude(
            parameter(Magnitude.NAME, m.view(channels())),
            List.of(a(), b()),
            this::scaling,
            this::lengths);
  }

  private long[] channels() {
    long[] shape = new long[layer().dimensions() + 2];
    Arrays.fill(shape, 1);
    shape[1] = layer().out();
    return shape;
  }

  private Tensor lengths() {
    if (layer().geometry().groups() == 1) {
      return norms.of(a().flatten(1, -1), b().flatten(1, -1), scaling());
    }
    // A sees all groups, so no kernel in groups holds the sum. What the reference measures in its
    // place is the product with B folded to rank r, and adapters are trained against that.
    Tensor folded = wide(b()).reshape(-1, a().size(0)).matmul(wide(a()).flatten(1, -1));
    Tensor w = wide(layer().originalWeight());
    return RowNorms.lengths(w.add(times(folded, scaling()).reshape(w.sizes())).flatten(1, -1));
  }

  @Override
  public Tensor first(Tensor x) {
    if (dropping()) {
      return forward(x, layer().base(x));
    }
    Tensor z = layer().base(x, layer().weight(), Magnitude.mergedBias(layer()));
    return withBias(magnitude.scale(plus(z, x), training()));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    if (!dropping()) {
      Tensor bias = bias(y);
      Tensor z = bias == null ? y : y.sub(bias);
      return withBias(magnitude.scale(plus(z, x), training()));
    }
    // What dropout leaves of x goes through the base a second time, for the magnitude to act on.
    Tensor kept = dropped(x);
    Tensor z = layer().base(kept, layer().weight(), null).to(y.scalar_type().intern());
    return y.add(magnitude.scale(plus(z, kept), true)).sub_(z);
  }

  private Tensor withBias(Tensor scaled) {
    Tensor bias = bias(scaled);
    return bias == null ? scaled : Magnitude.plus(scaled, bias);
  }

  private @Nullable Tensor bias(Tensor like) {
    Tensor bias = layer().adapters().originalBias();
    return bias == null ? null : bias.to(like.scalar_type().intern()).view(channels());
  }

  @Override
  public Tensor deltaWeight() {
    Tensor w = layer().originalWeight();
    return scaledSum(w).sub(wide(w));
  }

  @Override
  public Tensor mergedInto(Tensor weight) {
    return scaledSum(weight).to(weight.scalar_type().intern());
  }

  private Tensor scaledSum(Tensor weight) {
    return wide(weight).add(super.deltaWeight()).mul_(magnitude.now().transpose(0, 1));
  }

  @Override
  public @Nullable Tensor mergedIntoBias(@Nullable Tensor bias) {
    return magnitude.onMergedBias(layer(), bias);
  }

  @Override
  protected void replaced() {
    norms.forget();
    magnitude.forget();
  }

  @Override
  public void close() {
    super.close();
    norms.close();
    magnitude.close();
  }

  @Override
  public @Nullable String rowsRefusal() {
    return referenceRefusals() ? Magnitude.ROWS_REFUSAL : super.rowsRefusal();
  }
}
