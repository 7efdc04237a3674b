package espalier.training;

import static org.bytedeco.pytorch.global.torch.zeros_like;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * LoRA-FA: A is frozen, and the gradient of B is projected so that the step of s·B·A comes nearest
 * to the step of the whole weight: ĝ = g (A Aᵀ)⁻¹ / s². Then Adam, with decay after the step.
 * Tensors that belong to no pair take the same step without projection.
 *
 * <p>Every {@code lora_A} stops collecting gradients for good, so that only A x and not x must be
 * kept for backward.
 *
 * @see <a href="https://arxiv.org/abs/2308.03303">LoRA-FA: Memory-efficient Low-rank Adaptation</a>
 */
public final class LoraFa implements Optimizer {

  /** β = (0.9, 0.999) and ε = 1e-6. */
  public static final AdamRates RATES = new AdamRates(0.9, 0.999, 1e-6);

  private static final String A = ".lora_A.weight";
  private static final double RIDGE = 1e-8; // keeps A Aᵀ invertible where A has dependent rows

  private final ParameterGroup group;
  private final Map<String, LoraPair> pairs; // by the key of B
  private final List<Tensor> frozen = new ArrayList<>();
  private final AdamRates rates;
  private final boolean biasCorrection;
  private final SlotState slots;

  /**
   * Freezes every A and trains the rest.
   *
   * @param all trained tensors by their key in the adapter's file; those of A are left out
   * @param pairs the pairs of factors, by the key of B; those whose B does not train are passed
   *     over
   * @param biasCorrection whether the moments' start at zero is made up for
   * @throws IllegalArgumentException if no B trains; nothing is frozen then
   */
  public LoraFa(
      ParameterGroup all, Map<String, LoraPair> pairs, AdamRates rates, boolean biasCorrection) {
    this.rates = rates;
    this.biasCorrection = biasCorrection;
    this.pairs = new LinkedHashMap<>(pairs);
    this.pairs.keySet().retainAll(all.parameters().keySet());
    if (this.pairs.isEmpty()) {
      throw new IllegalArgumentException(
          "LoRA-FA found no lora_A with a lora_B that trains; use it with a LoRA adapter on linear"
              + " layers, convolutions or experts, or choose adamw");
    }
    var trained = new LinkedHashMap<>(all.parameters());
    all.parameters()
        .forEach(
            (key, tensor) -> {
              if (key.endsWith(A)) {
                trained.remove(key);
                frozen.add(tensor);
              }
            });
    group = new ParameterGroup(all.name(), trained, all.learningRate(), all.weightDecay());
    slots =
        new SlotState(
            group.parameters(),
            Map.of("exp_avg", SlotState.LIKE_PARAMETER, "exp_avg_sq", SlotState.LIKE_PARAMETER));
    freeze();
  }

  private void freeze() {
    for (Tensor a : frozen) {
      a.set_requires_grad(false);
      a.mutable_grad().reset();
    }
  }

  @Override
  public void step(double factor) {
    freeze(); // choosing the active adapter again has made all its factors collect gradients
    double rate = group.learningRate() * factor;
    group.update(
        (key, p, g) -> {
          LoraPair pair = pairs.get(key);
          adam(key, p, pair == null ? g : projected(g, pair), rate);
        });
  }

  private static Tensor projected(Tensor g, LoraPair pair) {
    Tensor a = pair.rightOfB(); // [blocks, r, in]
    Tensor inverse = Ridge.inverse(a.matmul(a.transpose(1, 2)), RIDGE);
    Tensor whole = pair.blocksOfB(g).matmul(inverse);
    whole.mul_(new Scalar(1 / (pair.scaling() * pair.scaling())));
    return pair.shapedAsB(whole).to(g.scalar_type().intern());
  }

  private void adam(String key, Tensor p, Tensor g, double rate) {
    double t = slots.step(key);
    Tensor m = slots.get(key, "exp_avg", () -> zeros_like(p));
    Tensor v = slots.get(key, "exp_avg_sq", () -> zeros_like(p));
    rates.take(g, m, v);
    double correction =
        biasCorrection
            ? Math.sqrt(1 - Math.pow(rates.beta2(), t)) / (1 - Math.pow(rates.beta1(), t))
            : 1;
    p.addcdiv_(m, v.sqrt().add_(new Scalar(rates.epsilon())), new Scalar(-rate * correction));
    if (group.weightDecay() > 0) {
      p.mul_(new Scalar(1 - rate * group.weightDecay()));
    }
  }

  @Override
  public List<ParameterGroup> groups() {
    return List.of(group);
  }

  @Override
  public Map<String, Tensor> state() {
    return slots.state();
  }

  @Override
  public void restore(Map<String, Tensor> state) {
    slots.restore(state);
    freeze(); // loading the adapter may have switched the gradients of A on again
  }

  @Override
  public void close() {
    slots.close();
  }
}
