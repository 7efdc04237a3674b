package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adaptable;
import espalier.nn.AttentionMask;
import espalier.nn.DotProductAttention;
import espalier.nn.Linear;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** Attention with several heads: projections, rotation, cache, and the way back. */
final class Attention {

  private final AttentionSpec spec;
  private final @Nullable Linear fused; // queries, keys and values side by side
  private final @Nullable Linear q;
  private final @Nullable Linear k;
  private final @Nullable Linear v;
  private final Linear o;
  private final @Nullable Adaptable qNorm;
  private final @Nullable Adaptable kNorm;

  private Attention(
      AttentionSpec spec,
      @Nullable Linear fused,
      @Nullable Linear q,
      @Nullable Linear k,
      @Nullable Linear v,
      Linear o,
      @Nullable Adaptable qNorm,
      @Nullable Adaptable kNorm) {
    this.spec = spec;
    this.fused = fused;
    this.q = q;
    this.k = k;
    this.v = v;
    this.o = o;
    this.qNorm = qNorm;
    this.kNorm = kNorm;
  }

  static Attention toItself(AttentionSpec spec, Map<Part, Adaptable> made) {
    return new Attention(
        spec,
        (Linear) made.get(Part.QKV),
        (Linear) made.get(Part.Q),
        (Linear) made.get(Part.K),
        (Linear) made.get(Part.V),
        (Linear) Block.needed(made, Part.O),
        made.get(Part.Q_NORM),
        made.get(Part.K_NORM));
  }

  static Attention toMemory(AttentionSpec spec, Map<Part, Adaptable> made) {
    return new Attention(
        spec,
        null,
        (Linear) Block.needed(made, Part.CROSS_Q),
        (Linear) Block.needed(made, Part.CROSS_K),
        (Linear) Block.needed(made, Part.CROSS_V),
        (Linear) Block.needed(made, Part.CROSS_O),
        null,
        null);
  }

  /** Attending to x itself and to what the cache holds. */
  Sublayer toItself(Pass pass, int layer) {
    return new Sublayer() {
      @Override
      public List<Tensor> project(Tensor x) {
        return fused != null
            ? parts(fused.forward(x))
            : List.of(forward(q, x), forward(k, x), forward(v, x));
      }

      @Override
      public Tensor finish(List<Tensor> projected) {
        return attended(projected, pass, layer);
      }
    };
  }

  /** Queries, keys and values of a fused projection. */
  private List<Tensor> parts(Tensor all) {
    long width = (long) spec.heads() * spec.headDim();
    Tensor queries = all.narrow(-1, 0, width);
    Tensor keys = all.narrow(-1, width, width);
    Tensor values = all.narrow(-1, 2 * width, width);
    return spec.rope() == null
        ? List.of(queries, keys, values)
        // as views of one tensor autograd would lose them when they are rotated in place
        : List.of(queries.clone(), keys.clone(), values);
  }

  private Tensor attended(List<Tensor> projected, Pass pass, int layer) {
    Tensor queries = heads(projected.get(0));
    Tensor keys = heads(projected.get(1));
    Tensor values = heads(projected.get(2));
    if (qNorm != null && kNorm != null) {
      queries = qNorm.forward(queries);
      keys = kNorm.forward(keys);
    }
    if (spec.rope() != null) {
      Rotation rotation = pass.rotation(spec.rope());
      queries = rotation.apply(queries);
      keys = rotation.apply(keys);
    }
    keys = keys.transpose(1, 2);
    values = values.transpose(1, 2);
    KvCache cache = pass.cache();
    if (cache != null) {
      KvCache.Entry all = cache.append(layer, keys, values);
      keys = all.k();
      values = all.v();
    }
    Sight sight = pass.sight(spec.window());
    if (sight.latest() > 0) {
      long from = keys.size(2) - sight.latest();
      keys = keys.narrow(2, from, sight.latest());
      values = values.narrow(2, from, sight.latest());
    }
    return out(attend(queries.transpose(1, 2), keys, values, sight.mask()));
  }

  /** Attending to an encoder's states. */
  Sublayer toMemory(StackInputs.Memory memory, @Nullable KvCache cache, int layer) {
    return new Sublayer() {
      @Override
      public List<Tensor> project(Tensor x) {
        return List.of(forward(q, x));
      }

      @Override
      public Tensor finish(List<Tensor> projected) {
        return informed(projected.getFirst(), memory, cache, layer);
      }
    };
  }

  private Tensor informed(
      Tensor asked, StackInputs.Memory memory, @Nullable KvCache cache, int layer) {
    Tensor queries = heads(asked).transpose(1, 2);
    KvCache.Entry kept = cache == null ? null : cache.across(layer);
    if (kept != null) {
      return out(attend(queries, kept.k(), kept.v(), memory.mask()));
    }
    Tensor states = memory.hidden();
    if (states == null) {
      throw new IllegalStateException("there are neither an encoder's states nor their keys");
    }
    Tensor keys = heads(forward(k, states)).transpose(1, 2);
    Tensor values = heads(forward(v, states)).transpose(1, 2);
    if (cache != null) {
      cache.keepAcross(layer, keys.contiguous(), values.contiguous());
    }
    return out(attend(queries, keys, values, memory.mask()));
  }

  private static Tensor forward(@Nullable Linear projection, Tensor x) {
    if (projection == null) {
      throw new IllegalStateException("this attention has no projection of its own for that");
    }
    return projection.forward(x);
  }

  /** [B, T, n * headDim] to [B, T, n, headDim]; a rank of several has some of the heads only. */
  private Tensor heads(Tensor x) {
    return x.reshape(x.size(0), x.size(1), -1, spec.headDim());
  }

  private Tensor out(Tensor y) {
    return o.forward(y.transpose(1, 2).reshape(y.size(0), y.size(2), y.size(1) * y.size(3)));
  }

  private Tensor attend(Tensor queries, Tensor keys, Tensor values, AttentionMask mask) {
    boolean dropping = spec.dropout() > 0 && o.training();
    // The fused kernels know neither this dropout nor the gradient of a bias.
    return dropping || (mask instanceof AttentionMask.Additive(var bias) && bias.requires_grad())
        ? plain(queries, keys, values, mask, dropping ? spec.dropout() : 0)
        : DotProductAttention.of(queries, keys, values, mask, spec.scale());
  }

  /** The formula as it is written, which keeps all probabilities. */
  private Tensor plain(
      Tensor queries, Tensor keys, Tensor values, AttentionMask mask, double probability) {
    long group = spec.heads() / spec.kvHeads();
    Tensor scores =
        queries.matmul(repeated(keys, group).transpose(2, 3)).mul(new Scalar(spec.scale()));
    Tensor masked =
        switch (mask) {
          case AttentionMask.Full() -> scores;
          case AttentionMask.Causal() -> scores.add(above(scores));
          case AttentionMask.Additive(var bias) -> scores.add(bias);
        };
    Tensor weights = masked.softmax(-1, new ScalarTypeOptional(ScalarType.Float));
    return dropout(weights.to(queries.scalar_type().intern()), probability, true)
        .matmul(repeated(values, group));
  }

  private static Tensor repeated(Tensor t, long group) {
    return group == 1 ? t : t.repeat_interleave(group, new LongOptional(1), new LongOptional());
  }

  private static Tensor above(Tensor scores) {
    long queries = scores.size(2);
    long keys = scores.size(3);
    return torch
        .full(new long[] {queries, keys}, new Scalar(Double.NEGATIVE_INFINITY), scores.options())
        .triu_(keys - queries + 1);
  }
}
