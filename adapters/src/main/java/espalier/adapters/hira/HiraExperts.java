package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.ExpertFactors;
import espalier.nn.Adapter;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.WeightMultiplier;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * HiRA on a stacked parameter of E experts: the weight of expert e gains Wₑ ⊙ BₑAₑ. The factors are
 * laid out as LoRA's, as {@link ExpertFactors} says.
 */
public final class HiraExperts extends Adapter implements ExpertWeight.ExpertAdapter {

  private final ExpertWeight layer;
  private final double dropout;
  private final Tensor a; // [E·r, in]
  private final Tensor b; // [out, r·E]

  HiraExperts(HiraConfig config, ExpertWeight layer, int r, Init init) {
    this.layer = layer;
    dropout = config.dropout();
    long stacked = r * layer.experts();
    HiraFactors factors =
        HiraFactors.draw(
            config, init, new long[] {stacked, layer.in()}, new long[] {layer.out(), stacked}, r);
    a = parameter("hira_A", factors.a());
    b = parameter("hira_B", factors.b());
  }

  @Override
  public ExpertWeight layer() {
    return layer;
  }

  private ExpertFactors factors() {
    return new ExpertFactors(layer, a, b);
  }

  /** All experts at once: x [E, tokens, in], y [E, tokens, out]; without E for a plain weight. */
  @Override
  public Tensor forward(Tensor x, Tensor y) {
    if (layer.weight().dim() == 2) {
      return forward(x, y, 0);
    }
    var outputs = new TensorVector();
    for (long e = 0; e < layer.experts(); e++) {
      outputs.push_back(forward(x.select(0, e), y.select(0, e), e));
    }
    return stack(outputs, 0);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y, long expert) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    Tensor branch =
        Hadamard.branch(
            layer.originalWeight(expert),
            kept,
            factors().b(expert),
            times(factors().a(expert), scale()));
    return y.add(branch).to(y.scalar_type().intern());
  }

  /** The modulations of all experts as the parameter is stored, without the weight. */
  public Tensor modulation() {
    return times(factors().product(wide(a).scalar_type().intern()), scale());
  }

  @Override
  public Tensor deltaWeight() {
    return modulation().mul(wide(layer.originalWeight()));
  }

  @Override
  public WeightMultiplier multiplier() {
    return KeptModulation.of(
        a,
        b,
        scale(),
        (keptA, keptB) ->
            new ExpertFactors(layer, keptA, keptB).product(keptA.scalar_type().intern()));
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    return HiraFactors.accept(state().get(name), name, shape)
        && shape[name.endsWith("A") ? 0 : 1] % layer.experts() == 0;
  }

  @Override
  public void requireLoadable(Map<String, Tensor> saved) {
    HiraFactors.requireOneRank(saved.getOrDefault("hira_A", a), saved.getOrDefault("hira_B", b));
  }

  @Override
  public @Nullable String rowsRefusal() {
    return ExpertFactors.ROWS_REFUSAL;
  }

  @Override
  public @Nullable String conversionRefusal() {
    return HiraFactors.conversionRefusal(this, super.conversionRefusal());
  }
}
