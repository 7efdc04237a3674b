package espalier.training;

import static org.bytedeco.pytorch.global.torch.empty_like;
import static org.bytedeco.pytorch.global.torch.logsumexp;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.CustomFunction;
import espalier.nn.Recompute;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The next-token loss without the logits of the whole batch. Only labelled positions reach the
 * head, and they go chunk by chunk, so a vocabulary of 49,152 costs one chunk of memory and prompts
 * cost no vocabulary product at all.
 */
public final class CausalLoss {

  /** Bytes of float32 logits that may exist at a time. */
  private static final long CHUNK_BYTES = 32L << 20;

  /** The same where they stand alone, without a second tensor of their size. */
  private static final long FROZEN_BYTES = 64L << 20;

  private CausalLoss() {}

  /**
   * The loss through a frozen head W without bias. Loss and gradient are computed in the forward,
   * where the logits exist once; backward only scales.
   *
   * @param hidden the hidden states to be judged, [n, H]
   * @param targets the tokens that should follow, [n], int64
   * @param head W, [V, H], frozen
   * @return the summed loss in nats, a scalar in float32
   */
  public static Tensor frozenHead(Tensor hidden, Tensor targets, Tensor head) {
    boolean gradients = CustomFunction.needed(List.of(hidden));
    var forHidden = new Tensor[1];
    Tensor total;
    try (var _ = new org.bytedeco.pytorch.NoGradGuard()) {
      total =
          Scope.result(
              () -> {
                Tensor sum = zeros(new long[0]);
                Tensor gradient = gradients ? Scope.own(empty_like(hidden)) : null;
                if (gradient != null) {
                  forHidden[0] = gradient;
                }
                long n = hidden.size(0);
                long chunk = evenly(n, head.size(0));
                var products = new FrozenHead(head, chunk);
                for (long from = 0; from < n; from += chunk) {
                  try (var _ = new PointerScope()) {
                    long rows = Math.min(chunk, n - from);
                    Tensor tokens = targets.narrow(0, from, rows);
                    Tensor z = products.logits(hidden.narrow(0, from, rows));
                    Tensor chosen = z.gather(1, tokens.unsqueeze(1));
                    Tensor largest = z.amax(new long[] {1}, true);
                    z.sub_(largest).exp_();
                    Tensor mass = z.sum(new long[] {1}, true, new ScalarTypeOptional());
                    sum.add_(mass.log().add_(largest).sub_(chosen).sum());
                    if (gradient != null) {
                      // d loss / d z = softmax(z) - one-hot; the one-hot's product is a row of W
                      Tensor mean = products.toHidden(z).div_(mass);
                      gradient.narrow(0, from, rows).copy_(mean.sub_(head.index_select(0, tokens)));
                    }
                  }
                }
                return sum;
              });
    }
    if (!gradients) {
      return total;
    }
    try (Tensor gradient = forHidden[0]) {
      return CustomFunction.join(
          total,
          List.of(hidden),
          List.of(gradient),
          (g, saved) -> List.of(saved.get(0).mul_(g.to(hidden.scalar_type().intern()))));
    }
  }

  /**
   * The loss through any head, also one that is trained: each chunk's logits are computed again in
   * backward.
   *
   * @param hidden the hidden states to be judged, [n, H]
   * @param targets the tokens that should follow, [n], int64
   * @param head from [m, H] to logits [m, V]
   * @param vocabulary V
   */
  public static Tensor anyHead(
      Tensor hidden, Tensor targets, UnaryOperator<Tensor> head, long vocabulary) {
    long chunk = chunk(CHUNK_BYTES, vocabulary);
    var parts = new ArrayList<Tensor>();
    for (long from = 0; from < hidden.size(0); from += chunk) {
      long rows = Math.min(chunk, hidden.size(0) - from);
      Tensor index = targets.narrow(0, from, rows).unsqueeze(1);
      parts.add(
          Recompute.in(
              hidden.narrow(0, from, rows),
              h -> {
                Tensor z = head.apply(h).to(ScalarType.Float);
                return logsumexp(z, new long[] {1}, true).sub(z.gather(1, index)).sum();
              }));
    }
    return parts.stream().reduce(Tensor::add).orElseGet(() -> zeros(new long[0]));
  }

  /**
   * Loss and hits without gradients.
   *
   * @param hidden [n, H]
   * @param targets [n], int64
   * @param head from [m, H] to logits [m, V]
   */
  public static Trainee.Judged judge(
      Tensor hidden, Tensor targets, UnaryOperator<Tensor> head, long vocabulary) {
    double loss = 0;
    long correct = 0;
    long chunk = chunk(CHUNK_BYTES, vocabulary);
    for (long from = 0; from < hidden.size(0); from += chunk) {
      try (var _ = new PointerScope()) {
        long rows = Math.min(chunk, hidden.size(0) - from);
        Tensor z = head.apply(hidden.narrow(0, from, rows)).to(ScalarType.Float);
        Tensor index = targets.narrow(0, from, rows);
        Tensor lse = logsumexp(z, new long[] {1}, true);
        loss +=
            lse.sub(z.gather(1, index.unsqueeze(1)))
                .sum(new ScalarTypeOptional(ScalarType.Double))
                .item_double();
        correct +=
            z.argmax(new org.bytedeco.pytorch.LongOptional(1), false).eq(index).sum().item_long();
      }
    }
    return new Trainee.Judged(loss, correct);
  }

  /** The size of chunks that are nearly equal, so that the last one is worth its way. */
  private static long evenly(long n, long vocabulary) {
    long chunks = Math.max(1, Math.ceilDiv(n, chunk(FROZEN_BYTES, vocabulary)));
    return Math.max(1, Math.ceilDiv(n, chunks));
  }

  private static long chunk(long bytes, long vocabulary) {
    return Math.max(16, bytes / (4 * vocabulary));
  }
}
