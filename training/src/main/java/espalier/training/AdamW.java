package espalier.training;

import static org.bytedeco.pytorch.global.torch.zeros_like;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Adam with decoupled weight decay.
 *
 * @see <a href="https://arxiv.org/abs/1711.05101">Decoupled Weight Decay Regularization, algorithm
 *     2</a>
 */
public final class AdamW implements Optimizer {

  private final List<ParameterGroup> groups;
  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final SlotState slots = new SlotState();
  private final Map<String, Tensor> all = new LinkedHashMap<>();
  private final Map<String, Long> steps = new LinkedHashMap<>();

  /** With β = (0.9, 0.999) and ε = 1e-8. */
  public AdamW(List<ParameterGroup> groups) {
    this(groups, 0.9, 0.999, 1e-8);
  }

  /**
   * An optimizer over groups.
   *
   * @param beta1 memory of the first moment, in [0, 1)
   * @param beta2 memory of the second moment, in [0, 1)
   * @param epsilon added to the root of the second moment, above or equal 0
   */
  public AdamW(List<ParameterGroup> groups, double beta1, double beta2, double epsilon) {
    if (!(beta1 >= 0 && beta1 < 1) || !(beta2 >= 0 && beta2 < 1)) {
      throw new IllegalArgumentException(
          "betas are (%s, %s) but must lie in [0, 1); (0.9, 0.999) is usual"
              .formatted(beta1, beta2));
    }
    if (!(epsilon >= 0)) {
      throw new IllegalArgumentException(
          "eps is %s but must not be negative; 1e-8 is usual".formatted(epsilon));
    }
    this.groups = List.copyOf(groups);
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    groups.forEach(group -> all.putAll(group.parameters()));
  }

  @Override
  public void step(double factor) {
    for (ParameterGroup group : groups) {
      double rate = group.learningRate() * factor;
      group.update((name, p, g) -> update(name, p, g, rate, group.weightDecay()));
    }
  }

  private void update(String name, Tensor p, Tensor g, double rate, double decay) {
    long t = steps.merge(name, 1L, Long::sum);
    Tensor m = slots.get(name, "exp_avg", () -> zeros_like(p));
    Tensor v = slots.get(name, "exp_avg_sq", () -> zeros_like(p));
    if (decay != 0) {
      p.mul_(new Scalar(1 - rate * decay));
    }
    m.lerp_(g, new Scalar(1 - beta1));
    v.mul_(new Scalar(beta2)).addcmul_(g, g, new Scalar(1 - beta2));
    double correction1 = 1 - Math.pow(beta1, (double) t);
    double correction2 = 1 - Math.pow(beta2, (double) t);
    Tensor denominator =
        v.sqrt().div_(new Scalar(Math.sqrt(correction2))).add_(new Scalar(epsilon));
    p.addcdiv_(m, denominator, new Scalar(-rate / correction1));
  }

  @Override
  public double learningRate() {
    return groups.isEmpty() ? 0 : groups.getFirst().learningRate();
  }

  @Override
  public Map<String, Tensor> state() {
    Map<String, Tensor> state = slots.all();
    steps.forEach(
        (name, t) ->
            state.put(name + "/step", org.bytedeco.pytorch.global.torch.tensor(new long[] {t})));
    return state;
  }

  @Override
  public void restore(Map<String, Tensor> state) {
    var tensors = new LinkedHashMap<>(state);
    var restored = new LinkedHashMap<String, Long>();
    state.forEach(
        (key, value) -> {
          if (key.endsWith("/step")) {
            tensors.remove(key);
            restored.put(
                key.substring(0, key.length() - "/step".length()),
                value.to(ScalarType.Long).item_long());
          }
        });
    slots.restore(tensors, all);
    steps.clear();
    steps.putAll(restored);
  }

  @Override
  public void close() {
    slots.close();
  }
}
