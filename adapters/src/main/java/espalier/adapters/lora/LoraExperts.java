package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;

import espalier.adapters.ExpertFactors;
import espalier.nn.Adapter;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a stacked parameter of E experts: expert e gains s·Bₑ·Aₑ. The layout is that of {@link
 * ExpertFactors}.
 */
public final class LoraExperts extends Adapter implements ExpertWeight.ExpertAdapter {

  private final ExpertWeight layer;
  private double scaling;
  private final Tensor a; // [E·r, in]
  private final Tensor b; // [out, r·E]

  LoraExperts(LoraConfig config, ExpertWeight layer, String path, Init init) {
    this.layer = layer;
    scaling = config.scalingAt(path);
    long r = config.rankAt(path);
    long stacked = r * layer.experts();
    var factors =
        LoraFactors.draw(
            config, init, r, new long[] {stacked, layer.in()}, new long[] {layer.out(), stacked});
    a = parameter("lora_A.weight", factors.a());
    b = parameter("lora_B.weight", factors.b());
  }

  @Override
  public ExpertWeight layer() {
    return layer;
  }

  /** The factor on Bₑ·Aₑ. */
  public double scaling() {
    return scaling * scale();
  }

  void rescale(double factor) {
    scaling = factor;
  }

  private ExpertFactors factors() {
    return new ExpertFactors(layer, a, b);
  }

  /** All experts at once: x [E, tokens, in], y [E, tokens, out]; without E for a plain weight. */
  @Override
  public Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = x.scalar_type().intern();
    if (layer.weight().dim() == 2) {
      Tensor branch = x.matmul(a.to(dtype).t()).matmul(b.to(dtype).t());
      return y.add(branch, new Scalar(scaling())).to(y.scalar_type().intern());
    }
    Tensor h = x.matmul(factors().stackedA(dtype).transpose(1, 2));
    Tensor branch = h.matmul(factors().stackedB(dtype).transpose(1, 2));
    return y.add(branch, new Scalar(scaling())).to(y.scalar_type().intern());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y, long expert) {
    ScalarType dtype = y.scalar_type().intern();
    Tensor ofA = factors().a(expert).to(x.scalar_type().intern()); // [r, in]
    Tensor ofB = factors().b(expert).to(dtype); // [out, r]
    Tensor h = x.matmul(ofA.t()).to(dtype);
    return addmm(y, h, ofB.t(), LoraLinear.one(), new Scalar(scaling()));
  }

  @Override
  public Tensor deltaWeight() {
    return times(factors().product(wide(a).scalar_type().intern()), scaling());
  }

  @Override
  public @Nullable String rowsRefusal() {
    return ExpertFactors.ROWS_REFUSAL;
  }
}
