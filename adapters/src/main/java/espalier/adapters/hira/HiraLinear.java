package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * HiRA on a linear layer: ΔW = W ⊙ BA, a low-rank factor spread over the base weight by the
 * Hadamard product.
 *
 * @see <a href="https://openreview.net/pdf?id=TwJrTz9cRS">HiRA, ICLR 2025</a>
 */
public final class HiraLinear extends Adapter {

  private final Linear layer;
  private final double dropout;
  private final Tensor a; // [r, in]
  private final Tensor b; // [out, r]

  HiraLinear(HiraConfig config, Linear layer, int r, Init init) {
    this.layer = layer;
    dropout = config.dropout();
    var factors =
        HiraFactors.draw(config, init, new long[] {r, layer.in()}, new long[] {layer.out(), r});
    a = parameter("hira_A", factors.a());
    b = parameter("hira_B", factors.b());
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    return dropout > 0 && training()
        ? forward(x, layer.base(x)) // base and branch see different inputs
        : Hadamard.whole(layer, x, b, times(a, scale()));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    return y.add(Hadamard.branch(layer, kept, b, times(a, scale())));
  }

  /** B·A in the orientation of the stored weight, without the weight. */
  public Tensor modulation() {
    Tensor m = times(wide(b).matmul(wide(a)), scale());
    return layer.transposed() ? m.t() : m;
  }

  @Override
  public Tensor deltaWeight() {
    Tensor m = modulation();
    return (layer.transposed() ? m.t() : m).mul(wide(layer.originalWeight()));
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    return HiraFactors.accept(state().get(name), name, shape);
  }

  @Override
  public void load(Map<String, Tensor> saved) {
    super.load(saved);
    HiraFactors.requireOneRank(a, b);
  }
}
