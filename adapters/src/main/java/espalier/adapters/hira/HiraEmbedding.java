package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.embedding;

import espalier.nn.Adapter;
import espalier.nn.CustomFunction;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.WeightMultiplier;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * HiRA on an embedding: the row of token t gains W[t] ⊙ (A[:, t]ᵀ Bᵀ). Only the rows that are
 * looked up are computed, so the cost does not know the vocabulary.
 */
public final class HiraEmbedding extends Adapter {

  private final Embedding layer;
  private final double output;
  private final Tensor a; // [r, V]
  private final Tensor b; // [D, r]

  HiraEmbedding(HiraConfig config, Embedding layer, int r, Init init) {
    this.layer = layer;
    output = config.likeReference() ? 1 : layer.outputScale();
    Tensor normalA = init.normal(1, r, layer.vocabulary());
    Tensor normalB = init.normal(1, layer.width(), r);
    boolean unset = config.init() == HiraInit.UNSET;
    a = parameter("hira_embedding_A", unset ? normalA : init.zero(r, layer.vocabulary()));
    b = parameter("hira_embedding_B", unset ? normalB : init.normal(1, layer.width(), r));
  }

  @Override
  public Embedding layer() {
    return layer;
  }

  @Override
  public Tensor forward(Tensor ids, Tensor y) {
    double factor = scale() * output;
    Tensor branch =
        CustomFunction.apply(
            List.of(a, b),
            List.of(ids, a, b, layer.originalWeight()),
            () ->
                times(
                    wide(rows(ids, layer.originalWeight()))
                        .mul(gathered(ids, a).matmul(wide(b).t())),
                    factor),
            (g, saved) -> {
              Tensor at = gathered(saved.get(0), saved.get(1)).flatten(0, -2); // [T, r]
              Tensor w = rows(saved.get(0), saved.get(3)).flatten(0, -2); // [T, D]
              Tensor gm = times(g.flatten(0, -2).mul(w), factor);
              Tensor factorB = saved.get(2);
              Tensor da = saved.get(1).new_zeros(a.size(0), a.size(1));
              da.index_add_(
                  1,
                  saved.get(0).flatten(),
                  gm.matmul(wide(factorB)).t().to(a.scalar_type().intern()));
              return Arrays.asList(da, gm.t().matmul(at).to(factorB.scalar_type().intern()));
            });
    return y.add(branch).to(y.scalar_type().intern());
  }

  // As long as the base's lookup lets them be.
  private Tensor rows(Tensor ids, Tensor table) {
    return layer.limited(embedding(table, ids));
  }

  private static Tensor gathered(Tensor ids, Tensor a) {
    return wide(embedding(a.t(), ids)); // [..., r]
  }

  /** B·A in the orientation of the stored table, [V, D], without the table. */
  public Tensor modulation() {
    return times(modulation(wide(a), wide(b)), scale());
  }

  private static Tensor modulation(Tensor a, Tensor b) {
    return a.t().matmul(b.t());
  }

  @Override
  public WeightMultiplier multiplier() {
    return KeptModulation.of(a, b, scale(), HiraEmbedding::modulation);
  }

  @Override
  public Tensor deltaWeight() {
    return modulation().mul(wide(layer.originalWeight()));
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    return HiraFactors.accept(state().get(name), name, shape);
  }

  @Override
  public void requireLoadable(Map<String, Tensor> saved) {
    HiraFactors.requireOneRank(
        saved.getOrDefault("hira_embedding_A", a), saved.getOrDefault("hira_embedding_B", b));
  }

  @Override
  public @Nullable String conversionRefusal() {
    return HiraFactors.conversionRefusal(this, super.conversionRefusal());
  }
}
