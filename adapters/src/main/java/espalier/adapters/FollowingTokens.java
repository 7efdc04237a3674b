package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** The trained rows of an embedding at work in another layer of the same weight. */
final class FollowingTokens extends TokenAdapter implements Follower {

  private final TokenAdapter leader;

  FollowingTokens(Adaptable layer, TokenAdapter leader) {
    super(layer, leader.tokens());
    this.leader = leader;
  }

  @Override
  public TokenAdapter leader() {
    return leader;
  }

  @Override
  public Tensor delta() {
    return leader.delta();
  }

  @Override
  public Map<String, Tensor> shown() {
    return Map.of(); // the file has the rows once
  }

  @Override
  public Map<String, Tensor> asLeader(Map<String, Tensor> saved) {
    return saved;
  }
}
