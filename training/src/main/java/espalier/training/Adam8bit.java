package espalier.training;

import static org.bytedeco.pytorch.global.torch.zeros;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Adam whose moments take one byte an entry instead of four. The update itself is float32: moments
 * are decoded, take the new gradient, step, and are encoded again, a parameter at a time.
 *
 * <p>Tensors below {@value #SMALL} entries keep float32 moments, and so do embeddings, whose rows
 * see few and unequal gradients.
 *
 * @see <a href="https://arxiv.org/abs/2110.02861">8-bit Optimizers via Block-wise Quantization</a>
 */
public final class Adam8bit extends SlottedOptimizer {

  private static final int SMALL = 4096;
  private static final String CODES = "_codes"; // uint8 [blocks, 256]
  private static final String LARGEST = "_largest"; // float32 [blocks]
  private static final String M = "exp_avg";
  private static final String V = "exp_avg_sq";

  private final AdamUpdate adam;
  private final Predicate<String> exact;
  private final boolean paged;

  /**
   * An optimizer over groups.
   *
   * @param exact the parameters whose moments stay float32 whatever their size, such as embeddings
   * @param paged whether the moments stay in the host's memory and visit the device a tensor at a
   *     time
   */
  public Adam8bit(
      List<ParameterGroup> groups,
      AdamRates rates,
      Decay decay,
      Predicate<String> exact,
      boolean paged) {
    super(
        groups,
        new SlotState(
            ParameterGroup.all(groups),
            List.of(
                Map.of(M, SlotState.LIKE_PARAMETER, V, SlotState.LIKE_PARAMETER),
                Map.of(
                    M + CODES,
                    p -> new long[] {blocks(p), DynamicCodes.BLOCK},
                    V + CODES,
                    p -> new long[] {blocks(p), DynamicCodes.BLOCK},
                    M + LARGEST,
                    p -> new long[] {blocks(p)},
                    V + LARGEST,
                    p -> new long[] {blocks(p)})),
            paged));
    this.adam = new AdamUpdate(rates, decay);
    this.exact = exact;
    this.paged = paged;
  }

  private static long blocks(Tensor p) {
    return DynamicCodes.blocks(p.numel());
  }

  @Override
  public void step(double factor) {
    for (ParameterGroup group : groups()) {
      double rate = group.learningRate() * factor;
      group.update(
          (name, p, g) -> {
            if (p.numel() < SMALL || exact.test(name)) {
              inFull(name, p, g, rate, group.weightDecay());
            } else {
              inBytes(name, p, g, rate, group.weightDecay());
            }
          });
    }
  }

  private void inFull(String name, Tensor p, Tensor g, double rate, double decay) {
    Tensor keptM = slots().get(name, M, () -> zeros_like(p).to(home(p), p.scalar_type()));
    Tensor keptV = slots().get(name, V, () -> zeros_like(p).to(home(p), p.scalar_type()));
    Tensor m = keptM.to(p.device(), p.scalar_type());
    Tensor v = keptV.to(p.device(), p.scalar_type());
    adam.apply(p, g, m, v, slots().step(name), rate, decay);
    keptM.copy_(m); // the same tensor unless it is paged
    keptV.copy_(v);
  }

  private void inBytes(String name, Tensor p, Tensor g, double rate, double decay) {
    Tensor codesM = slots().get(name, M + CODES, () -> zeroCodes(p));
    Tensor codesV = slots().get(name, V + CODES, () -> zeroCodes(p));
    Tensor largestM = slots().get(name, M + LARGEST, () -> zeroLargest(p));
    Tensor largestV = slots().get(name, V + LARGEST, () -> zeroLargest(p));
    Tensor m = DynamicCodes.SIGNED.decode(codesM, largestM, p);
    Tensor v = DynamicCodes.POSITIVE.decode(codesV, largestV, p);
    adam.apply(p, g.to(ScalarType.Float), m, v, slots().step(name), rate, decay);
    DynamicCodes.SIGNED.encode(m, codesM, largestM);
    DynamicCodes.POSITIVE.encode(v, codesV, largestV);
  }

  // Any code would do, since its block's largest magnitude is zero.
  private Tensor zeroCodes(Tensor p) {
    return zeros(new long[] {blocks(p), DynamicCodes.BLOCK}).to(home(p), ScalarType.Byte);
  }

  private Tensor zeroLargest(Tensor p) {
    return zeros(blocks(p)).to(home(p), ScalarType.Float);
  }

  private Device home(Tensor p) {
    return paged ? new Device("cpu") : p.device();
  }
}
