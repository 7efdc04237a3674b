package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adaptable;
import espalier.nn.CustomFunction;
import espalier.nn.Embedding;
import espalier.nn.Remade;
import espalier.nn.Scope;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Attention, then where there is an encoder attention to its states, then a feed-forward. */
final class Block {

  private final int index;
  private final BlockSpec spec;
  private final Norm.Placement placement;
  private final double dropout;
  private final Map<Part, Adaptable> parts = new EnumMap<>(Part.class);
  private final Attention attention;
  private final @Nullable Attention cross;
  private final Sublayer feedForward;

  /** Builds the block at {@code path}, its layers in the order of their names. */
  Block(Tree tree, String path, int index, DecoderSpec stack, BlockSpec spec) {
    this.index = index;
    this.spec = spec;
    placement = stack.placement();
    dropout = stack.dropouts().residual();
    tree.node(path, "DecoderBlock");
    stack
        .blockNames()
        .forEach(
            (part, name) -> {
              Adaptable made = make(tree, path + "." + name, part, stack);
              if (made != null) {
                parts.put(part, made);
              }
            });
    attention = Attention.toItself(spec.attention(), parts);
    cross = spec.cross() == null ? null : Attention.toMemory(spec.cross(), parts);
    feedForward = FeedForward.of(spec.feedForward(), parts, stack.dropouts().inner());
  }

  private @Nullable Adaptable make(Tree tree, String path, Part part, DecoderSpec stack) {
    long hidden = stack.hidden();
    AttentionSpec a = spec.attention();
    long width = (long) a.heads() * a.headDim();
    long kvWidth = (long) a.kvHeads() * a.headDim();
    boolean transposed = spec.transposed();
    return switch (part) {
      case Q, CROSS_Q -> tree.linear(path, width, hidden, a.bias(), transposed);
      case K, V, CROSS_K, CROSS_V -> tree.linear(path, kvWidth, hidden, a.bias(), transposed);
      case QKV -> tree.linear(path, width + 2 * kvWidth, hidden, a.bias(), transposed);
      case O, CROSS_O -> tree.linear(path, hidden, width, a.outBias(), transposed);
      case Q_NORM, K_NORM -> tree.norm(path, stack.norm(), a.headDim());
      case ATTENTION_NORM, ATTENTION_POST_NORM, CROSS_NORM, FEED_NORM, FEED_POST_NORM ->
          tree.norm(path, stack.norm(), hidden);
      case RELATIVE_BIAS ->
          // the first block's table serves the others too
          index == 0 && stack.position() instanceof Position.Relative(var buckets, _)
              ? tree.embedding(path, buckets, a.heads(), -1, 1)
              : null;
      case GATE, UP, DOWN, ROUTER, EXPERTS_GATE_UP, EXPERTS_DOWN ->
          makeFeedForward(tree, path, part, hidden);
      default -> throw new IllegalStateException(part + " is not a part of a block");
    };
  }

  private @Nullable Adaptable makeFeedForward(Tree tree, String path, Part part, long hidden) {
    boolean transposed = spec.transposed();
    return switch (spec.feedForward()) {
      case FeedForwardSpec.Gated(var inner, _, var bias) ->
          switch (part) {
            case GATE, UP -> tree.linear(path, inner, hidden, bias, transposed);
            case DOWN -> tree.linear(path, hidden, inner, bias, transposed);
            default -> null;
          };
      case FeedForwardSpec.Plain(var inner, _, var bias) ->
          switch (part) {
            case UP -> tree.linear(path, inner, hidden, bias, transposed);
            case DOWN -> tree.linear(path, hidden, inner, bias, transposed);
            default -> null;
          };
      case FeedForwardSpec.Experts(var count, var inner, _, _, _) ->
          switch (part) {
            case ROUTER -> tree.parameter(path, count, hidden);
            case EXPERTS_GATE_UP -> tree.parameter(path, count, 2L * inner, hidden);
            case EXPERTS_DOWN -> tree.parameter(path, count, hidden, inner);
            default -> null;
          };
    };
  }

  /** The layer for a part that this block can not be without. */
  static Adaptable needed(Map<Part, Adaptable> parts, Part part) {
    Adaptable layer = parts.get(part);
    if (layer == null) {
      throw new IllegalStateException("a block was built without " + part);
    }
    return layer;
  }

  BlockSpec spec() {
    return spec;
  }

  /** The table of distances, in the first block of a stack that has one. */
  @Nullable Embedding relativeBias() {
    return (Embedding) parts.get(Part.RELATIVE_BIAS);
  }

  /** x [B, T, hidden] to the same shape. Each half frees its temporaries as it ends. */
  Tensor forward(Tensor x, Pass pass) {
    Tensor attended =
        half(x, Part.ATTENTION_NORM, Part.ATTENTION_POST_NORM, attention.toItself(pass, index));
    StackInputs.Memory memory = pass.memory();
    Tensor informed =
        cross == null || memory == null
            ? attended
            : half(
                attended,
                Part.CROSS_NORM,
                Part.CROSS_NORM,
                cross.toMemory(memory, pass.cache(), index));
    return half(informed, Part.FEED_NORM, Part.FEED_POST_NORM, feedForward);
  }

  private Tensor half(Tensor x, Part norm, Part postNorm, Sublayer f) {
    Adaptable first = needed(parts, norm);
    return Scope.result(
        () ->
            switch (placement) {
              case BEFORE -> plus(x, dropped(f.finish(projected(first, x, f)), first));
              case AFTER -> first.forward(plus(x, dropped(f.finish(f.project(x)), first)));
              case AROUND ->
                  plus(
                      x,
                      needed(parts, postNorm)
                          .forward(dropped(f.finish(projected(first, x, f)), first)));
            });
  }

  /**
   * What the first layers of f make of norm(x), which they do not keep. It is freed before the rest
   * of f, so that something that is kept can take its place.
   */
  private static List<Tensor> projected(Adaptable norm, Tensor x, Sublayer f) {
    return Scope.listed(
        () -> {
          Tensor h = norm.forward(x);
          return norm.repeatable()
              ? Remade.during(h, List.of(x), from -> norm.base(from.getFirst()), f::project)
              : f.project(h);
        });
  }

  private Tensor dropped(Tensor y, Adaptable near) {
    return dropout > 0 && near.training() ? dropout(y, dropout, true) : y;
  }

  /** x + y, in the memory of y unless its layer keeps it. */
  private static Tensor plus(Tensor x, Tensor y) {
    if (x.scalar_type().intern() != y.scalar_type().intern()) {
      return x.add(y);
    }
    Tensor sum = Scope.writable(y);
    try (var _ = new NoGradGuard()) {
      sum.add_(x);
    }
    return CustomFunction.join(sum, List.of(x, y), List.of(), (g, _) -> List.of(g, g));
  }
}
