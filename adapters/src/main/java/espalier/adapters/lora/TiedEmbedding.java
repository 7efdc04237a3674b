package espalier.adapters.lora;

import espalier.adapters.Follower;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** LoRA on an embedding that shares its weight, and with it the factors, with another embedding. */
public final class TiedEmbedding extends Adapter implements Follower {

  private final Embedding layer;
  private final LoraEmbedding leader;

  TiedEmbedding(Embedding layer, LoraEmbedding leader) {
    this.layer = layer;
    this.leader = leader;
  }

  @Override
  public Embedding layer() {
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
  public Tensor forward(Tensor ids, Tensor y) {
    Tensor branch = LoraEmbedding.branch(layer, ids, leader.a(), leader.b());
    return LoraEmbedding.plus(y, branch, layer, scaling());
  }

  @Override
  public Tensor deltaWeight() {
    return LoraEmbedding.delta(layer, leader.a(), leader.b(), scaling());
  }

  @Override
  public Map<String, Tensor> shown() {
    return Map.of("lora_embedding_A", leader.a(), "lora_embedding_B", leader.b());
  }

  @Override
  public Map<String, Tensor> asLeader(Map<String, Tensor> saved) {
    return saved;
  }
}
