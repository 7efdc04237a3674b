package espalier.training;

import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Gradient descent with momentum: m ← μ m + g, p ← p - rate · m; decay is added to g. */
public final class Sgd extends SlottedOptimizer {

  private final double momentum;

  /**
   * An optimizer over groups.
   *
   * @param momentum in [0, 1); 0 keeps no state
   */
  public Sgd(List<ParameterGroup> groups, double momentum) {
    if (!(momentum >= 0 && momentum < 1)) {
      throw new IllegalArgumentException(
          "momentum is %s but must lie in [0, 1); 0 turns it off".formatted(momentum));
    }
    super(
        groups,
        new SlotState(ParameterGroup.all(groups), Map.of("momentum", SlotState.LIKE_PARAMETER)));
    this.momentum = momentum;
  }

  @Override
  public void step(double factor) {
    for (ParameterGroup group : groups()) {
      double rate = group.learningRate() * factor;
      group.update((name, p, g) -> update(name, p, g, rate, group.weightDecay()));
    }
  }

  private void update(String name, Tensor p, Tensor g, double rate, double decay) {
    Tensor direction = decay == 0 ? g : g.add(p, new Scalar(decay));
    if (momentum > 0) {
      boolean[] fresh = {false};
      Tensor start = direction;
      Tensor m =
          slots()
              .get(
                  name,
                  "momentum",
                  () -> {
                    fresh[0] = true;
                    return start.clone();
                  });
      direction = fresh[0] ? m : m.mul_(new Scalar(momentum)).add_(direction);
    }
    p.add_(direction, new Scalar(-rate));
  }
}
