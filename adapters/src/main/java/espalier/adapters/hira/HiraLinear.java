package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.WeightMultiplier;
import java.util.Map;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * HiRA on a linear layer: ΔW = W ⊙ BA, a low-rank factor spread over the base weight by the
 * Hadamard product. With {@code hira_blocks} the factor is one for each block of a grid (BHRA).
 *
 * @see <a href="https://openreview.net/pdf?id=TwJrTz9cRS">HiRA, ICLR 2025</a>
 * @see <a href="https://arxiv.org/abs/2509.21637">BHRA</a>
 */
public final class HiraLinear extends Adapter {

  private final Linear layer;
  private final double dropout;
  private final int blocks; // a side
  private final Tensor a; // [r, in], or [blocks, in / blocks, r]
  private final Tensor b; // [out, r], or [blocks, r, out / blocks]
  private @Nullable ServedWeight served; // where what is computed may be kept

  HiraLinear(HiraConfig config, Linear layer, int r, Init init) {
    this.layer = layer;
    dropout = config.dropout();
    blocks = config.blocks();
    HiraFactors factors = HiraFactors.draw(config, init, layer, r);
    a = parameter("hira_A", factors.a());
    b = parameter("hira_B", factors.b());
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    ServedWeight kept = served;
    boolean ready = !training() && !GradMode.is_enabled() && layer.adapters().merged().isEmpty();
    if (kept != null && ready && layer.quantised() == null) {
      Tensor input = x.to(layer.dtype());
      return kept.output(layer, input, a, b, scale(), this::deltaWeight)
          .to(x.scalar_type().intern());
    }
    return dropout > 0 && training()
        ? forward(x, layer.base(x)) // base and branch see different inputs
        : Hadamard.whole(layer, x, b, times(a, scale()));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    return y.add(Hadamard.branch(layer, kept, b, times(a, scale())));
  }

  /** The modulation in the orientation of the stored weight, without the weight. */
  public Tensor modulation() {
    return layer.transposed() ? logical().t() : logical();
  }

  private Tensor logical() {
    return logical(times(wide(a), scale()), wide(b));
  }

  private Tensor logical(Tensor scaledA, Tensor wideB) {
    Modulation m = Modulation.of(wideB, scaledA);
    var rows = new TensorVector();
    for (long from = 0; from < layer.out(); from += m.together()) {
      rows.push_back(m.rows(from, m.together()));
    }
    return cat(rows, 0);
  }

  @Override
  public Tensor deltaWeight() {
    return logical().mul(wide(layer.originalWeight()));
  }

  @Override
  public WeightMultiplier multiplier() {
    return KeptModulation.of(a, b, scale(), this::logical);
  }

  @Override
  public void keepWhenServing(boolean on) {
    drop();
    served = on ? new ServedWeight() : null;
  }

  private void drop() {
    if (served != null) {
      served.close();
    }
  }

  @Override
  protected void replaced() {
    drop();
  }

  @Override
  public void train(boolean on) {
    super.train(on);
    if (on) {
      drop();
    }
  }

  @Override
  public void close() {
    drop();
    super.close();
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    return blocks == 1
        ? HiraFactors.accept(state().get(name), name, shape)
        : HiraFactors.accept(state().get(name), shape, name.endsWith("A") ? 2 : 1)
            && shape[name.endsWith("A") ? 2 : 1] % blocks == 0;
  }

  @Override
  public void requireLoadable(Map<String, Tensor> saved) {
    Tensor nextA = saved.getOrDefault("hira_A", a);
    Tensor nextB = saved.getOrDefault("hira_B", b);
    HiraFactors.requireOneRank(nextA.size(blocks == 1 ? 0 : 2), nextB.size(1));
  }

  @Override
  public @Nullable String conversionRefusal() {
    return HiraFactors.conversionRefusal(this, super.conversionRefusal());
  }
}
