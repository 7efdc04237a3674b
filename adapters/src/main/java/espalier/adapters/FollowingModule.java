package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** The trained copy of a weight at work in another layer of the same weight. */
final class FollowingModule extends SavedModule implements Follower {

  private final SavedModule leader;

  FollowingModule(Adaptable layer, SavedModule leader) {
    super(layer);
    this.leader = leader;
  }

  @Override
  public SavedModule leader() {
    return leader;
  }

  @Override
  Tensor weight() {
    return leader.weight();
  }

  @Override
  public Map<String, Tensor> shown() {
    return Map.of(name(), leader.weight());
  }

  @Override
  public Map<String, Tensor> asLeader(Map<String, Tensor> saved) {
    return Map.of(leader.name(), saved.values().iterator().next());
  }
}
