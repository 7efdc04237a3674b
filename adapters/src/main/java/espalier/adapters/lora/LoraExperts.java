package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;

import espalier.nn.Adapter;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a stacked parameter of E experts: expert e gains s·Bₑ·Aₑ.
 *
 * <p>The reference's layout: rows e·r … e·r+r-1 of A belong to expert e, and of B the columns k·E+e
 * for k = 0 … r-1. So A is a stack over experts, and B, seen as [out, r, E], a stack over ranks.
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

  private long r() {
    return a.size(0) / layer.experts();
  }

  private Tensor stackedA(ScalarType dtype) {
    return a.to(dtype).view(layer.experts(), r(), layer.in()); // [E, r, in]
  }

  private Tensor stackedB(ScalarType dtype) {
    return b.to(dtype).view(layer.out(), r(), layer.experts()).permute(2, 0, 1); // [E, out, r]
  }

  /** All experts at once: x [E, tokens, in], y [E, tokens, out]; without E for a plain weight. */
  @Override
  public Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = x.scalar_type().intern();
    if (layer.weight().dim() == 2) {
      Tensor branch = x.matmul(a.to(dtype).t()).matmul(b.to(dtype).t());
      return y.add(branch, new Scalar(scaling())).to(y.scalar_type().intern());
    }
    Tensor h = x.matmul(stackedA(dtype).transpose(1, 2));
    Tensor branch = h.matmul(stackedB(dtype).transpose(1, 2));
    return y.add(branch, new Scalar(scaling())).to(y.scalar_type().intern());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y, long expert) {
    ScalarType dtype = y.scalar_type().intern();
    Tensor ofA = a.narrow(0, expert * r(), r()).to(x.scalar_type().intern()); // [r, in]
    Tensor ofB = b.view(layer.out(), r(), layer.experts()).select(2, expert).to(dtype); // [out, r]
    Tensor h = x.matmul(ofA.t()).to(dtype);
    return addmm(y, h, ofB.t(), LoraLinear.one(), new Scalar(scaling()));
  }

  @Override
  public Tensor deltaWeight() {
    ScalarType dtype = wide(a).scalar_type().intern();
    Tensor delta = times(stackedB(dtype).matmul(stackedA(dtype)), scaling()); // [E, out, in]
    return (layer.transposed() ? delta.transpose(1, 2) : delta)
        .contiguous()
        .view_as(layer.weight());
  }

  @Override
  public @Nullable String rowsRefusal() {
    return "rows of one batch can not have different adapters on a stacked parameter;"
        + " run one batch an adapter";
  }
}
