package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.adapters.Follower;
import espalier.nn.Adapter;
import espalier.nn.Linear;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * LoRA on an output head that shares its weight [V, D] with an embedding. It has the factors of the
 * adapter there: A of the head [r, D] is Bᵀ of the embedding, and B [V, r] is Aᵀ, so that both
 * sides change by one and the same ΔW.
 */
public final class TiedHead extends Adapter implements Follower {

  private final Linear layer;
  private final LoraEmbedding leader;
  private final double dropout;

  TiedHead(LoraConfig config, Linear layer, LoraEmbedding leader) {
    this.layer = layer;
    this.leader = leader;
    dropout = config.dropout();
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public LoraEmbedding leader() {
    return leader;
  }

  /** The factor on B·A. */
  public double scaling() {
    return leader.configuredScaling() * scale();
  }

  @Override
  public Tensor first(Tensor x) {
    // into the base's fresh product: no second tensor of the size of the logits
    Tensor rows = rows(x);
    Tensor y = layer.base(rows);
    ScalarType dtype = y.scalar_type().intern();
    y.addmm_(hidden(rows, dtype), leader.a().to(dtype), LoraLinear.one(), new Scalar(scaling()));
    long[] shape = x.shape();
    shape[shape.length - 1] = layer.out();
    return y.view(shape);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    ScalarType dtype = y.scalar_type().intern();
    return y.add(hidden(x, dtype).matmul(leader.a().to(dtype)), new Scalar(scaling()));
  }

  private Tensor hidden(Tensor x, ScalarType dtype) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    return kept.matmul(leader.b().to(x.scalar_type().intern())).to(dtype);
  }

  @Override
  public Tensor deltaWeight() {
    return times(wide(leader.a()).t().matmul(wide(leader.b()).t()), scaling());
  }

  @Override
  public Map<String, Tensor> shown() {
    return Map.of("lora_A.weight", leader.b().t(), "lora_B.weight", leader.a().t());
  }

  @Override
  public Map<String, Tensor> asLeader(Map<String, Tensor> saved) {
    var renamed = new HashMap<String, Tensor>();
    saved.forEach(
        (name, factor) ->
            renamed.put(
                name.equals("lora_A.weight") ? "lora_embedding_B" : "lora_embedding_A",
                factor.t()));
    return renamed;
  }
}
