package espalier.training;

import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.mm_out;

import espalier.nn.HalfPrecision;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The products of a frozen head W [V, H], in the same memory for each chunk of hidden states: what
 * is as large as logits would else be mapped, cleared by the system and given back for every chunk.
 */
final class FrozenHead {

  /** Rows of the head that are widened at a time where half-precision products are emulated. */
  private static final long SLICE = 8192;

  private interface Slice {
    void at(long from, Tensor rows);
  }

  private final Tensor weight;
  private final Tensor z;
  private final @Nullable Tensor slice; // where the head has to be widened

  /**
   * Takes the memory.
   *
   * @param weight W, [V, H]
   * @param chunk how many hidden states come at a time at most
   */
  FrozenHead(Tensor weight, long chunk) {
    this.weight = weight;
    z = empty(chunk, weight.size(0)).to(HalfPrecision.widened(weight.scalar_type().intern()));
    slice =
        HalfPrecision.emulated(weight)
            ? empty(Math.min(SLICE, weight.size(0)), weight.size(1))
            : null;
  }

  /**
   * The logits of some hidden states, overwritten by the next.
   *
   * @param hidden [m, H]
   * @return [m, V] in float32, or in float64 if the head is
   */
  Tensor logits(Tensor hidden) {
    Tensor out = z.narrow(0, 0, hidden.size(0));
    if (slice != null) {
      Tensor wide = hidden.to(ScalarType.Float);
      slices(slice, (from, rows) -> mm_out(out.narrow(1, from, rows.size(0)), wide, rows.t()));
    } else if (HalfPrecision.isHalf(weight)) {
      out.copy_(linear(hidden, weight));
    } else {
      mm_out(out, hidden, weight.t());
    }
    return out;
  }

  /**
   * The gradient of hidden states from that of their logits.
   *
   * @param g [m, V], as {@link #logits} gives them
   * @return g W, [m, H], in float32 or wider
   */
  Tensor toHidden(Tensor g) {
    if (slice == null) {
      return HalfPrecision.isHalf(weight)
          ? g.to(weight.scalar_type().intern()).mm(weight).to(ScalarType.Float)
          : g.mm(weight);
    }
    Tensor sum = g.new_zeros(g.size(0), weight.size(1));
    slices(slice, (from, rows) -> sum.addmm_(g.narrow(1, from, rows.size(0)), rows));
    return sum;
  }

  private void slices(Tensor memory, Slice body) {
    for (long from = 0; from < weight.size(0); from += SLICE) {
      try (var _ = new PointerScope()) {
        long length = Math.min(SLICE, weight.size(0) - from);
        body.at(from, memory.narrow(0, 0, length).copy_(weight.narrow(0, from, length)));
      }
    }
  }
}
