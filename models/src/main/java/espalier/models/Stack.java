package espalier.models;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.Recompute;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.Map;
import java.util.function.IntFunction;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** Token ids in, hidden states out: embedding, blocks, last norm. */
final class Stack {

  private final DecoderSpec spec;
  private final Map<Part, Adaptable> parts = new EnumMap<>(Part.class);
  private final BlockList blocks;
  private final @Nullable RelativeBias relativeBias;
  private int vocabulary;

  Stack(Tree tree, DecoderSpec spec) {
    this.spec = spec;
    vocabulary = spec.embedding().vocabulary();
    var made = new ArrayList<Block>();
    spec.names()
        .forEach(
            (part, path) -> {
              if (part == Part.BLOCKS) {
                made.addAll(BlockList.make(tree, path, spec));
              } else {
                parts.put(part, make(tree, path, part));
              }
            });
    blocks = new BlockList(tree, spec, made);
    Embedding table = made.getFirst().relativeBias();
    relativeBias =
        table != null && spec.position() instanceof Position.Relative relative
            ? new RelativeBias(table, relative, !spec.causal())
            : null;
  }

  private Adaptable make(Tree tree, String path, Part part) {
    long hidden = spec.hidden();
    DecoderSpec.EmbeddingSpec e = spec.embedding();
    return switch (part) {
      case TOKENS -> tree.embedding(path, e.vocabulary(), e.width(), e.paddingIndex(), e.scale());
      case TOKEN_TYPES -> tree.embedding(path, e.tokenTypes(), hidden, -1, 1);
      case POSITIONS -> {
        if (!(spec.position() instanceof Position.Learned learned)) {
          throw new IllegalStateException("a table of positions without learned positions");
        }
        yield tree.embedding(path, learned.rows(), hidden, -1, 1);
      }
      case EMBEDDING_NORM, FINAL_NORM -> tree.norm(path, spec.norm(), hidden);
      case PROJECT_IN -> tree.linear(path, hidden, e.width(), false);
      case PROJECT_OUT -> tree.linear(path, e.width(), hidden, false);
      default -> throw new IllegalStateException(part + " is not a part of a stack");
    };
  }

  DecoderSpec spec() {
    return spec;
  }

  int depth() {
    return blocks.size();
  }

  Embedding tokens() {
    return (Embedding) Block.needed(parts, Part.TOKENS);
  }

  /** Says how many rows the token embedding has now. */
  void vocabulary(int rows) {
    vocabulary = rows;
  }

  ScalarType dtype() {
    return tokens().dtype().intern(); // as it comes from native code it equals no constant
  }

  /**
   * The states after the last norm, [B, T, hidden]; where the token embedding is narrower, [B, T,
   * its width].
   */
  Tensor forward(StackInputs in) {
    checkRange("token id", in.ids(), vocabulary);
    KvCache cache = in.cache();
    if (cache != null && cache.layers() != blocks.size()) {
      throw new IllegalArgumentException(
          "the cache is for %d layers but the model has %d; make it with newCache of this model"
              .formatted(cache.layers(), blocks.size()));
    }
    if (!GradMode.is_enabled()) {
      return Scope.result(() -> run(in));
    }
    return run(in);
  }

  private Tensor run(StackInputs in) {
    Tensor positions = positions(in);
    Tensor x = embedded(in, positions);
    Pass pass = pass(in, positions);
    for (Block block : blocks.present()) {
      Tensor before = x;
      x = Scope.result(() -> step(block, before, pass, in.checkpointing()));
      before.close(); // else the states between all blocks would live until the end
    }
    KvCache cache = in.cache();
    if (cache != null) {
      cache.advance(in.time());
    }
    Adaptable norm = parts.get(Part.FINAL_NORM);
    if (norm != null) {
      x = dropped(norm.forward(x), spec.dropouts().output());
    }
    return projected(Part.PROJECT_OUT, x);
  }

  private Tensor step(Block block, Tensor x, Pass pass, boolean checkpointing) {
    if (!checkpointing || !GradMode.is_enabled()) {
      return block.forward(x, pass);
    }
    StackInputs.Memory memory = pass.memory();
    Tensor states = memory == null ? null : memory.hidden();
    if (memory == null || states == null) {
      return Recompute.in(x, h -> block.forward(h, pass));
    }
    // Recompute leads gradients to one tensor, so the encoder's states go in beside x.
    var both = new TensorVector();
    both.push_back(x);
    both.push_back(states);
    long time = x.size(1);
    return Recompute.in(
        cat(both, 1),
        joined -> {
          Tensor h = joined.narrow(1, 0, time);
          Tensor m = joined.narrow(1, time, joined.size(1) - time);
          return block.forward(h, pass.with(new StackInputs.Memory(m, memory.mask())));
        });
  }

  private Tensor positions(StackInputs in) {
    return switch (spec.position()) {
      case Position.Learned(_, _, var counting, var pad) -> Positions.of(counting, pad, in);
      case Position.Rotary(), Position.Relative(_, _) ->
          Positions.of(Position.Counting.FROM_FIRST, 0, in);
    };
  }

  private Tensor embedded(StackInputs in, Tensor positions) {
    Tensor x = tokens().forward(in.ids());
    Adaptable types = parts.get(Part.TOKEN_TYPES);
    if (types != null) {
      Tensor given = in.tokenTypes();
      if (given != null) {
        checkRange("token type", given, spec.embedding().tokenTypes());
      }
      x = x.add(types.forward(given == null ? zeros_like(in.ids()) : given));
    } else if (in.tokenTypes() != null) {
      throw new IllegalArgumentException("token types are given but this model has none");
    }
    x = projected(Part.PROJECT_IN, x);
    if (spec.position() instanceof Position.Learned learned) {
      Tensor rows = positions.add(new Scalar(learned.offset()));
      checkPositions(rows, learned);
      x = x.add(Block.needed(parts, Part.POSITIONS).forward(rows));
    }
    Adaptable norm = parts.get(Part.EMBEDDING_NORM);
    return dropped(norm == null ? x : norm.forward(x), spec.dropouts().embedding());
  }

  private Tensor projected(Part part, Tensor x) {
    Linear projection = (Linear) parts.get(part);
    return projection == null ? x : projection.forward(x);
  }

  private Tensor dropped(Tensor x, double probability) {
    return probability > 0 && tokens().training() ? dropout(x, probability, true) : x;
  }

  // On a GPU an index outside of a table ends the process, so it is looked for beforehand.
  private static void checkRange(String what, Tensor ids, int rows) {
    long largest = ids.max().item_long();
    long smallest = ids.min().item_long();
    if (smallest < 0 || largest >= rows) {
      throw new IllegalArgumentException(
          "%s %d is outside of the model's %d; tokenizer and model do not belong together"
              .formatted(what, smallest < 0 ? smallest : largest, rows));
    }
  }

  private static void checkPositions(Tensor rows, Position.Learned learned) {
    long largest = rows.max().item_long();
    if (largest >= learned.rows() || rows.min().item_long() < 0) {
      throw new IllegalArgumentException(
          "a row reaches position %d but the model has %d positions; give shorter rows"
              .formatted(largest - learned.offset(), learned.rows() - learned.offset()));
    }
  }

  private Pass pass(StackInputs in, Tensor positions) {
    var rotations = new HashMap<Rope, Rotation>();
    var sights = new HashMap<Integer, Sight>();
    RelativeBias table = relativeBias;
    // A trained bias must be computed again with each block that backward runs again.
    boolean anew = table != null && in.checkpointing() && table.trained();
    Tensor bias = anew ? null : bias(in);
    for (Block block : blocks.present()) {
      AttentionSpec attention = block.spec().attention();
      Rope rope = attention.rope();
      if (rope != null && !rotations.containsKey(rope)) {
        rotations.put(rope, Rotation.of(rope, positions, length(rope, in, positions), dtype()));
      }
      if (!anew && !sights.containsKey(attention.window())) {
        sights.put(
            attention.window(), Sight.of(in, spec.causal(), attention.window(), bias, dtype()));
      }
    }
    IntFunction<Sight> sight =
        anew ? window -> Sight.of(in, spec.causal(), window, bias(in), dtype()) : sights::get;
    return new Pass(rotations, sight, in.cache(), in.memory());
  }

  private @Nullable Tensor bias(StackInputs in) {
    RelativeBias table = relativeBias;
    return table == null ? null : table.of(in.past(), in.past() + in.time(), in.ids());
  }

  private static long length(Rope rope, StackInputs in, Tensor positions) {
    return rope.dynamic() ? positions.max().item_long() + 1 : in.past() + in.time();
  }

  /** The blocks in their present order. */
  BlockList blocks() {
    return blocks;
  }
}
