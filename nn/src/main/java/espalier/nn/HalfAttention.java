package espalier.nn;

import static espalier.nn.DotProductAttention.byPosition;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.AttentionMask.Additive;
import espalier.nn.AttentionMask.Causal;
import espalier.nn.AttentionMask.Full;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Attention in half precision as plain batched products, which oneDNN does fast.
 *
 * <p>The query heads that share a key head are folded into rows, so keys and values are never
 * repeated. Queries go in chunks, and under the causal rule a chunk sees no key after its last
 * query, so the upper triangle is mostly not computed. Backward keeps q, k and v only and computes
 * the probabilities again.
 */
final class HalfAttention {

  /**
   * Queries a chunk; probabilities of one chunk are all that exists at a time. They should stay
   * below the size that the C library maps anew at each use: 128 took 32 ms where 256 took 38 and
   * 64 took 40 (4 x 256 tokens, 9 heads of 64, forward and backward, on 2 cores).
   */
  private static final long CHUNK = 128;

  private HalfAttention() {}

  static Tensor of(Tensor q, Tensor k, Tensor v, AttentionMask mask, double scale) {
    List<Tensor> inputs = List.of(q, k, v);
    return CustomFunction.apply(
        inputs,
        inputs,
        () -> forward(q, k, v, mask, scale),
        (g, saved) -> backward(g, saved.get(0), saved.get(1), saved.get(2), mask, scale));
  }

  private static Tensor forward(Tensor q, Tensor k, Tensor v, AttentionMask mask, double scale) {
    Tensor y = Scope.room(q, byPosition(q)).transpose(1, 2);
    try (var _ = new PointerScope()) {
      Tensor allKeys = wide(k);
      Tensor allValues = wide(v);
      for (long from = 0; from < q.size(2); from += CHUNK) {
        try (var _ = new PointerScope()) {
          var chunk = new Chunk(q, k, from, mask);
          Tensor p = chunk.probabilities(chunk.rows(q), chunk.keys(allKeys), mask, scale);
          chunk.put(y, p.bmm(chunk.keys(allValues)));
        }
      }
    }
    return y;
  }

  private static List<@Nullable Tensor> backward(
      Tensor g, Tensor q, Tensor k, Tensor v, AttentionMask mask, double scale) {
    Tensor forQ = q.new_empty(byPosition(q)).transpose(1, 2);
    Tensor forK = k.new_empty(byPosition(k)).transpose(1, 2);
    Tensor forV = v.new_empty(byPosition(v)).transpose(1, 2);
    try (var _ = new PointerScope()) {
      Tensor allKeys = wide(k);
      Tensor allValues = wide(v);
      Tensor sumK = zeros_like(allKeys);
      Tensor sumV = zeros_like(allValues);
      for (long from = 0; from < q.size(2); from += CHUNK) {
        try (var _ = new PointerScope()) {
          var chunk = new Chunk(q, k, from, mask);
          Tensor rows = chunk.rows(q);
          Tensor keys = chunk.keys(allKeys);
          Tensor gradient = chunk.rows(g);
          Tensor p = chunk.probabilities(rows, keys, mask, scale);
          chunk.addTo(sumV, p.transpose(1, 2).bmm(gradient));
          Tensor ds = gradient.bmm(chunk.keys(allValues).transpose(1, 2)).mul_(p);
          ds.addcmul_(p, ds.sum(new long[] {-1}, true, new ScalarTypeOptional()), new Scalar(-1));
          chunk.put(forQ, ds.bmm(keys).mul_(new Scalar(scale)));
          chunk.addTo(sumK, ds.transpose(1, 2).bmm(rows).mul_(new Scalar(scale)));
        }
      }
      forK.copy_(sumK);
      forV.copy_(sumV);
    }
    var all = new ArrayList<@Nullable Tensor>();
    all.add(forQ);
    all.add(forK);
    all.add(forV);
    return all;
  }

  private static Tensor wide(Tensor t) {
    return HalfPrecision.emulated(t) ? t.to(ScalarType.Float) : t;
  }

  /** One run of queries and the keys that it can see. */
  private static final class Chunk {
    private final long batch;
    private final long kvHeads;
    private final long group;
    private final long width;
    private final long from;
    private final long queries;
    private final long allQueries;
    private final long seen;

    Chunk(Tensor q, Tensor k, long from, AttentionMask mask) {
      this.batch = q.size(0);
      this.kvHeads = k.size(1);
      this.group = q.size(1) / kvHeads;
      this.width = q.size(3);
      this.from = from;
      this.allQueries = q.size(2);
      this.queries = Math.min(CHUNK, allQueries - from);
      long keys = k.size(2);
      this.seen =
          mask instanceof Causal ? Math.min(keys, keys - allQueries + from + queries) : keys;
    }

    /** [batch, heads, T, D] to this chunk's [batch * kvHeads, group * queries, D]. */
    Tensor rows(Tensor t) {
      return wide(t.narrow(2, from, queries)).reshape(batch * kvHeads, group * queries, width);
    }

    /** [batch, kvHeads, S, D] to [batch * kvHeads, seen, D]. */
    Tensor keys(Tensor t) {
      return t.narrow(2, 0, seen).reshape(batch * kvHeads, seen, width);
    }

    /** This chunk's rows into their places in [batch, heads, T, D]. */
    void put(Tensor all, Tensor rows) {
      all.narrow(2, from, queries).copy_(rows.view(batch, kvHeads * group, queries, width));
    }

    void addTo(Tensor sum, Tensor part) {
      sum.narrow(2, 0, seen).add_(part.view(batch, kvHeads, seen, width));
    }

    Tensor probabilities(Tensor rows, Tensor keys, AttentionMask mask, double scale) {
      Tensor scores = rows.mul(new Scalar(scale)).bmm(keys.transpose(1, 2));
      switch (mask) {
        case Full() -> {}
        case Causal() -> {
          if (queries > 1) {
            long own = Math.min(queries, seen); // what stands before these keys, all see
            scores
                .view(batch * kvHeads, group, queries, seen)
                .narrow(3, seen - own, own)
                .add_(DotProductAttention.causal(queries, own, scores));
          }
        }
        case Additive(var bias) -> {
          Tensor rule = bias.size(2) == 1 ? bias : bias.narrow(2, from, queries);
          Tensor shaped =
              bias.size(1) == 1
                  ? rule.unsqueeze(1)
                  : rule.reshape(rule.size(0), kvHeads, group, rule.size(2), rule.size(3));
          scores
              .view(batch, kvHeads, group, queries, seen)
              .add_(shaped.to(scores.scalar_type().intern()));
        }
      }
      return scores.softmax(-1);
    }
  }
}
