package espalier.training;

import static org.bytedeco.pytorch.global.torch.zeros_like;

import java.util.List;
import java.util.Map;

/**
 * Adam with decoupled weight decay, or as it was before that.
 *
 * @see <a href="https://arxiv.org/abs/1711.05101">Decoupled Weight Decay Regularization, algorithm
 *     2</a>
 */
public final class AdamW extends SlottedOptimizer {

  private final AdamUpdate adam;

  /** With β = (0.9, 0.999), ε = 1e-8 and decoupled decay. */
  public AdamW(List<ParameterGroup> groups) {
    this(groups, AdamRates.USUAL, Decay.DECOUPLED);
  }

  /** An optimizer over groups. */
  public AdamW(List<ParameterGroup> groups, AdamRates rates, Decay decay) {
    super(
        groups,
        new SlotState(
            ParameterGroup.all(groups),
            Map.of("exp_avg", SlotState.LIKE_PARAMETER, "exp_avg_sq", SlotState.LIKE_PARAMETER)));
    adam = new AdamUpdate(rates, decay);
  }

  @Override
  public void step(double factor) {
    for (ParameterGroup group : groups()) {
      double rate = group.learningRate() * factor;
      group.update(
          (name, p, g) ->
              adam.apply(
                  p,
                  g,
                  slots().get(name, "exp_avg", () -> zeros_like(p)),
                  slots().get(name, "exp_avg_sq", () -> zeros_like(p)),
                  slots().step(name),
                  rate,
                  group.weightDecay()));
    }
  }
}
