package espalier.training;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * Parameters that share a learning rate and a weight decay.
 *
 * @param name what the run log calls it
 * @param parameters by name, in order
 * @param learningRate above or equal 0, before the schedule's factor
 * @param weightDecay decoupled decay, above or equal 0
 */
public record ParameterGroup(
    String name, Map<String, Tensor> parameters, double learningRate, double weightDecay) {

  public ParameterGroup {
    if (!(learningRate >= 0 && Double.isFinite(learningRate))) {
      throw new IllegalArgumentException(
          "learning_rate is %s but must be finite and not negative; 2e-4 is usual for LoRA"
              .formatted(learningRate));
    }
    if (!(weightDecay >= 0 && Double.isFinite(weightDecay))) {
      throw new IllegalArgumentException(
          "weight_decay is %s but must be finite and not negative; 0 turns it off"
              .formatted(weightDecay));
    }
    parameters = Collections.unmodifiableMap(new LinkedHashMap<>(parameters));
  }

  /** The parameters of all groups. */
  static Map<String, Tensor> all(List<ParameterGroup> groups) {
    var all = new LinkedHashMap<String, Tensor>();
    groups.forEach(group -> all.putAll(group.parameters()));
    return all;
  }

  /** How an optimizer changes one parameter. */
  @FunctionalInterface
  interface Update {
    void apply(String name, Tensor parameter, Tensor gradient);
  }

  /** Updates every parameter that has a gradient, without building a graph. */
  void update(Update update) {
    try (var _ = new NoGradGuard()) {
      parameters.forEach(
          (name, p) -> {
            try (var _ = new PointerScope()) {
              Tensor g = p.grad();
              if (g.defined()) {
                update.apply(name, p, g);
              }
            }
          });
    }
  }
}
