package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import espalier.nn.Replicable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/** The blocks of a stack, which can be strung together anew, some of them several times. */
final class BlockList {

  private final DecoderSpec spec;
  private final Group list;
  private List<Block> blocks;
  private List<Integer> sources;

  BlockList(Tree tree, DecoderSpec spec, List<Block> made) {
    this.spec = spec;
    list = tree.node(spec.names().get(Part.BLOCKS), "ModuleList");
    blocks = made;
    sources = IntStream.range(0, made.size()).boxed().toList();
  }

  /** Makes the blocks of a model, in the checkpoint's order. */
  static List<Block> make(Tree tree, String path, DecoderSpec spec) {
    tree.node(path, "ModuleList");
    var blocks = new ArrayList<Block>();
    for (int i = 0; i < spec.blocks().size(); i++) {
      blocks.add(new Block(tree, path + "." + i, i, spec, spec.blocks().get(i)));
    }
    return blocks;
  }

  /** In the order in which they compute. */
  List<Block> present() {
    return blocks;
  }

  int size() {
    return blocks.size();
  }

  /** The node that holds them, each under its index. */
  Layer node() {
    return list;
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
