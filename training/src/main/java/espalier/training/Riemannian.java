package espalier.training;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * Riemannian preconditioning of LoRA: before each step gA ← (BᵀB + reg·I)⁻¹ gA and gB ← gB (A Aᵀ +
 * reg·I)⁻¹, both from the factors before the step; then another optimizer takes the step. So the
 * size of a step no longer depends on how the product is shared between A and B.
 *
 * <p>Gradients are changed in place, after clipping. Pairs of matrices are preconditioned of which
 * both train; all else is left to the other optimizer.
 *
 * @see <a href="https://arxiv.org/abs/2402.02347">Riemannian Preconditioned LoRA for Fine-Tuning
 *     Foundation Models</a>
 */
public final class Riemannian implements Optimizer {

  /** The damping that the paper's experiments are stable with. */
  public static final double REG = 1e-2;

  private final Optimizer inner;
  private final List<LoraPair> pairs;
  private final double reg;

  /**
   * Wraps an optimizer, which is closed with this one.
   *
   * @param pairs the factors; those that are no matrices, or of which one does not train, are
   *     passed over
   * @param reg damping of the inverses, above or equal 0
   * @throws IllegalArgumentException if no pair is left
   */
  public Riemannian(Optimizer inner, Collection<LoraPair> pairs, double reg) {
    if (!(reg >= 0 && Double.isFinite(reg))) {
      throw new IllegalArgumentException(
          "reg is %s but must be finite and not negative; 0.01 is usual".formatted(reg));
    }
    this.inner = inner;
    this.reg = reg;
    this.pairs = trained(pairs);
    if (this.pairs.isEmpty()) {
      throw new IllegalArgumentException(
          "Riemannian preconditioning found no pair of matrices lora_A and lora_B that both train;"
              + " use it with a LoRA adapter on linear layers, or choose adamw");
    }
  }

  private static List<LoraPair> trained(Collection<LoraPair> pairs) {
    return pairs.stream().filter(Riemannian::preconditions).toList();
  }

  /** Whether a pair is one of matrices that both train; others are passed over. */
  public static boolean preconditions(LoraPair pair) {
    return pair.a().dim() == 2
        && pair.b().dim() == 2
        && pair.a().requires_grad()
        && pair.b().requires_grad();
  }

  @Override
  public void step(double factor) {
    try (var _ = new NoGradGuard()) {
      pairs.forEach(this::precondition);
    }
    inner.step(factor);
  }

  private void precondition(LoraPair pair) {
    try (var _ = new PointerScope()) {
      Tensor ofA = pair.a().grad();
      Tensor ofB = pair.b().grad();
      if (ofA.defined()) {
        Tensor b = pair.leftOfA(); // [blocks, out, r]
        Tensor inverse = Ridge.inverse(b.transpose(1, 2).matmul(b), reg);
        ofA.copy_(inverse.matmul(pair.blocksOfA(ofA)).reshape(ofA.sizes()));
      }
      if (ofB.defined()) {
        Tensor a = pair.rightOfB(); // [blocks, r, in]
        Tensor inverse = Ridge.inverse(a.matmul(a.transpose(1, 2)), reg);
        ofB.copy_(pair.shapedAsB(pair.blocksOfB(ofB).matmul(inverse)));
      }
    }
  }

  @Override
  public List<ParameterGroup> groups() {
    return inner.groups();
  }

  @Override
  public Map<String, Tensor> state() {
    return inner.state();
  }

  @Override
  public void restore(Map<String, Tensor> state) {
    inner.restore(state);
  }

  @Override
  public void close() {
    inner.close();
  }
}
