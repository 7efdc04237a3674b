package espalier.models;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.ParallelStyle;
import espalier.nn.Recompute;
import espalier.nn.Replicable;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.IntConsumer;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
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
  private final Group list;
  private List<Block> blocks;
  private List<Integer> sources;
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
                made.addAll(blocks(tree, path, spec));
              } else {
                parts.put(part, make(tree, path, part));
              }
            });
    list = tree.node(spec.names().get(Part.BLOCKS), "ModuleList");
    blocks = made;
    sources = IntStream.range(0, made.size()).boxed().toList();
    Embedding table = made.getFirst().relativeBias();
    relativeBias =
        table != null && spec.position() instanceof Position.Relative relative
            ? new RelativeBias(table, relative, !spec.causal())
            : null;
  }

  private static List<Block> blocks(Tree tree, String path, DecoderSpec spec) {
    tree.node(path, "ModuleList");
    var blocks = new ArrayList<Block>();
    for (int i = 0; i < spec.blocks().size(); i++) {
      blocks.add(new Block(tree, path + "." + i, i, spec, spec.blocks().get(i)));
    }
    return blocks;
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

  /**
   * How the blocks are split over ranks: what widens along its outputs, what narrows again along
   * its inputs. Attention stays whole where its heads can not be told apart by a part of a weight:
   * where one weight gives queries, keys and values, or a table gives each head a bias.
   */
  Map<String, ParallelStyle> styles(int ranks) {
    var styles = new LinkedHashMap<String, ParallelStyle>();
    boolean heads =
        !spec.blockNames().has(Part.QKV) && !(spec.position() instanceof Position.Relative);
    for (int i = 0; i < blocks.size(); i++) {
      AttentionSpec attention = blocks.get(i).spec().attention();
      if (heads && (attention.heads() % ranks != 0 || attention.kvHeads() % ranks != 0)) {
        throw new IllegalArgumentException(
            "the model has %d heads and %d key heads, which can not be dealt to %d ranks; take a divisor of both"
                .formatted(attention.heads(), attention.kvHeads(), ranks));
      }
      String block = spec.names().get(Part.BLOCKS) + "." + i + ".";
      String within = i + ".";
      spec.blockNames()
          .forEach(
              (part, name) -> {
                ParallelStyle style = style(part, heads);
                if (style != null && list.find(within + name) instanceof Adaptable) {
                  styles.put(block + name, style);
                }
              });
    }
    return styles;
  }

  private static @Nullable ParallelStyle style(Part part, boolean heads) {
    return switch (part) {
      case Q, K, V -> heads ? ParallelStyle.COLUMN : null;
      case O -> heads ? ParallelStyle.ROW : null;
      case Q_NORM, K_NORM -> heads ? ParallelStyle.REPLICATED_SUMMED : null;
      case GATE, UP -> ParallelStyle.COLUMN;
      case DOWN -> ParallelStyle.ROW;
      default -> null;
    };
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
    for (Block block : blocks) {
      Tensor before = x;
      x = step(block, before, pass, in.checkpointing());
      if (!GradMode.is_enabled()) {
        before.close(); // else the states between all blocks would live until the end
      }
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
    if (!GradMode.is_enabled()) {
      return Scope.result(() -> block.forward(x, pass));
    }
    if (!checkpointing) {
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
    for (Block block : blocks) {
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

  /** For each block the index of the checkpoint's block that it is. */
  List<Integer> sources() {
    return sources;
  }

  /** What each block is, in the present order. */
  List<BlockKind> kinds() {
    return blocks.stream().map(block -> BlockKind.of(block.spec())).toList();
  }

  /** The paths of the blocks that share their weights with another. */
  Set<String> replicas() {
    var paths = new LinkedHashSet<String>();
    for (int i = 0; i < sources.size(); i++) {
      if (Collections.frequency(sources, sources.get(i)) > 1) {
        paths.add(spec.names().get(Part.BLOCKS) + "." + i);
      }
    }
    return paths;
  }

  /**
   * Makes a new list of blocks out of the present one; see {@link Replicable#repeat}.
   *
   * @param changed told how many blocks there are, also when the old list is put back
   */
  Replicable.Repetition repeat(IntConsumer changed, int... chosen) {
    requireRepeatable(chosen);
    var made = new ArrayList<Block>();
    var nodes = new LinkedHashMap<String, Layer>();
    for (int i = 0; i < chosen.length; i++) {
      var tree = new Tree(new BlockWeights(blockAt(chosen[i])));
      made.add(new Block(tree, "block", i, spec, blocks.get(chosen[i]).spec()));
      nodes.put(Integer.toString(i), tree.node("block", "DecoderBlock"));
    }
    List<Integer> now = Arrays.stream(chosen).mapToObj(sources::get).toList();
    var before = new Blocks(blocks, new LinkedHashMap<>(list.children()), sources);
    var after = new Blocks(made, nodes, now);
    place(after, changed);
    return new Repetition(before, after, changed);
  }

  private record Blocks(List<Block> blocks, Map<String, Layer> nodes, List<Integer> sources) {
    void close() {
      nodes.values().forEach(Layer::close);
    }
  }

  private final class Repetition implements Replicable.Repetition {
    private final Blocks before;
    private final Blocks after;
    private final IntConsumer changed;
    private boolean decided;

    Repetition(Blocks before, Blocks after, IntConsumer changed) {
      this.before = before;
      this.after = after;
      this.changed = changed;
    }

    @Override
    public void keep() {
      decided = true;
      before.close();
    }

    @Override
    public void close() {
      if (!decided) {
        decided = true;
        place(before, changed);
        after.close();
      }
    }
  }

  private void place(Blocks chosen, IntConsumer changed) {
    boolean training = list.training();
    Set.copyOf(list.children().keySet()).forEach(list::takeOff);
    chosen
        .nodes()
        .forEach(
            (name, node) -> {
              node.train(training);
              list.hang(name, node);
            });
    blocks = chosen.blocks();
    sources = chosen.sources();
    changed.accept(blocks.size());
  }

  private void requireRepeatable(int... chosen) {
    list.layers()
        .values()
        .forEach(
            layer -> {
              if (layer instanceof Adaptable a && !a.adapters().all().isEmpty()) {
                throw new IllegalStateException(
                    "layers can not be repeated once adapters are attached; repeat them first");
              }
            });
    for (int source : chosen) {
      if (source < 0 || source >= blocks.size()) {
        throw new IllegalArgumentException(
            "layer_replication names layer %d but the model has layers 0 to %d"
                .formatted(source, blocks.size() - 1));
      }
    }
    if (chosen.length == 0) {
      throw new IllegalArgumentException("layer_replication leaves no layer; name at least one");
    }
  }

  private Layer blockAt(int index) {
    return Objects.requireNonNull(list.children().get(Integer.toString(index)));
  }
}
