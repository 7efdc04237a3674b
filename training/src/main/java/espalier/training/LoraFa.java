package espalier.training;

import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_pinv;
import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

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

  private static final String A = ".lora_A.weight";
  private static final String B = ".lora_B.weight";
  private static final double RIDGE = 1e-8; // keeps A Aᵀ invertible where A has dependent rows

  private final ParameterGroup group;
  private final Map<String, Pair> pairs = new LinkedHashMap<>(); // by the key of B
  private final Rates rates;
  private final SlotState slots = new SlotState();
  private final Map<String, Long> steps = new LinkedHashMap<>();

  private record Pair(Tensor a, double scaling) {}

  /**
   * How Adam goes.
   *
   * @param beta1 memory of the first moment, in [0, 1)
   * @param beta2 memory of the second moment, in [0, 1)
   * @param epsilon added to the root of the second moment, above or equal 0
   */
  public record Rates(double beta1, double beta2, double epsilon) {

    /** β = (0.9, 0.999) and ε = 1e-6. */
    public static final Rates USUAL = new Rates(0.9, 0.999, 1e-6);

    /** Checks the ranges. */
    public Rates {
      if (!(beta1 >= 0 && beta1 < 1) || !(beta2 >= 0 && beta2 < 1)) {
        throw new IllegalArgumentException(
            "betas are (%s, %s) but must lie in [0, 1); (0.9, 0.999) is usual"
                .formatted(beta1, beta2));
      }
      if (!(epsilon >= 0)) {
        throw new IllegalArgumentException(
            "eps is %s but must not be negative; 1e-6 is usual for LoRA-FA".formatted(epsilon));
      }
    }
  }

  /**
   * Freezes every A and trains the rest.
   *
   * @param all trained tensors by their key in the adapter's file, A among them
   * @param scaling the factor on B·A by the key of B
   * @throws IllegalArgumentException if there is no pair, or one whose shapes can not be projected;
   *     nothing is frozen then
   */
  public LoraFa(ParameterGroup all, ToDoubleFunction<String> scaling, Rates rates) {
    this.rates = rates;
    var trained = new LinkedHashMap<>(all.parameters());
    all.parameters()
        .forEach(
            (key, a) -> {
              if (key.endsWith(A)) {
                trained.remove(key);
                String keyOfB = key.substring(0, key.length() - A.length()) + B;
                Tensor b = all.parameters().get(keyOfB);
                if (b != null) {
                  requireFit(keyOfB, a, b);
                  pairs.put(keyOfB, new Pair(a, scaling.applyAsDouble(keyOfB)));
                }
              }
            });
    if (pairs.isEmpty()) {
      throw new IllegalArgumentException(
          "LoRA-FA found no pair of lora_A and lora_B that both train; use it with a LoRA adapter"
              + " on linear layers or convolutions, or choose adamw");
    }
    group = new ParameterGroup(all.name(), trained, all.learningRate(), all.weightDecay());
    freeze();
  }

  private static void requireFit(String key, Tensor a, Tensor b) {
    if (b.numel() != b.size(0) * a.size(0)) {
      throw new IllegalArgumentException(
          "%s has %d columns but A has %d rows, so LoRA-FA can not project its gradient; leave grouped convolutions out of target_modules, or choose adamw"
              .formatted(key, b.numel() / b.size(0), a.size(0)));
    }
  }

  private void freeze() {
    for (Pair pair : pairs.values()) {
      pair.a().set_requires_grad(false);
      pair.a().mutable_grad().reset();
    }
  }

  @Override
  public void step(double factor) {
    double rate = group.learningRate() * factor;
    group.update(
        (key, p, g) -> {
          Pair pair = pairs.get(key);
          adam(key, p, pair == null ? g : projected(g, pair), rate);
        });
  }

  // A convolution's factors are flattened to [r, in·k...] and [out, r].
  private static Tensor projected(Tensor g, Pair pair) {
    Tensor a = pair.a().flatten(1, -1).to(ScalarType.Float);
    Tensor gram = a.matmul(a.t());
    gram.add_(eye(gram.size(0), gram.options()), new Scalar(RIDGE));
    Tensor whole = g.to(ScalarType.Float).flatten(1, -1).matmul(linalg_pinv(gram));
    return whole
        .mul_(new Scalar(1 / (pair.scaling() * pair.scaling())))
        .view_as(g)
        .to(g.scalar_type().intern());
  }

  private void adam(String key, Tensor p, Tensor g, double rate) {
    double t = steps.merge(key, 1L, Long::sum);
    Tensor m = slots.get(key, "exp_avg", () -> zeros_like(p));
    Tensor v = slots.get(key, "exp_avg_sq", () -> zeros_like(p));
    m.lerp_(g, new Scalar(1 - rates.beta1()));
    v.mul_(new Scalar(rates.beta2())).addcmul_(g, g, new Scalar(1 - rates.beta2()));
    double correction =
        Math.sqrt(1 - Math.pow(rates.beta2(), t)) / (1 - Math.pow(rates.beta1(), t));
    p.addcdiv_(m, v.sqrt().add_(new Scalar(rates.epsilon())), new Scalar(-rate * correction));
    if (group.weightDecay() > 0) {
      p.mul_(new Scalar(1 - rate * group.weightDecay()));
    }
  }

  @Override
  public double learningRate() {
    return group.learningRate();
  }

  @Override
  public Map<String, Tensor> state() {
    Map<String, Tensor> state = slots.all();
    steps.forEach((key, t) -> state.put(key + "/step", tensor(new long[] {t})));
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
    slots.restore(tensors, group.parameters());
    steps.clear();
    steps.putAll(restored);
    freeze(); // loading the adapter may have switched the gradients of A on again
  }

  @Override
  public void close() {
    slots.close();
  }
}
