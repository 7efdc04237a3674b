package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.RmsNorm;
import java.util.Objects;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.jspecify.annotations.Nullable;

/** A tree of layers for tests: leaves at paths, plain nodes between them. */
public final class Tree extends Layer {

  private final String type;

  private Tree(String type) {
    this.type = type;
  }

  /** An empty tree. */
  public static Tree empty() {
    return new Tree("Tree");
  }

  /** The adapters of a model that is one layer, called {@code layer}. */
  public static Adapters adapters(Adaptable layer) {
    return Adapters.of(empty().with("layer", layer), ModelFacts.of("llama"));
  }

  @Override
  public String typeName() {
    return type;
  }

  /** Puts a leaf at a path. */
  public Tree with(String path, Layer leaf) {
    Tree at = this;
    String[] names = path.split("\\.", -1);
    for (int i = 0; i < names.length - 1; i++) {
      Layer child = at.children().get(names[i]);
      at = child == null ? at.child(names[i], new Tree("Block")) : (Tree) child;
    }
    at.child(names[names.length - 1], leaf);
    return this;
  }

  /** The adaptable layer at a path. */
  public Adaptable at(String path) {
    return (Adaptable) Objects.requireNonNull(find(path), path);
  }

  /** A decoder's layers by name, with random weights that are the same each time. */
  public static Tree decoder(int blocks) {
    var draw = new Draw(7);
    Tree tree = empty().with("model.embed_tokens", new Embedding(draw.normal(20, 8)));
    for (int i = 0; i < blocks; i++) {
      String block = "model.layers." + i;
      tree.with(block + ".self_attn.q_proj", new Linear(draw.normal(8, 8), draw.normal(8)))
          .with(block + ".self_attn.k_proj", new Linear(draw.normal(4, 8), draw.normal(4)))
          .with(block + ".self_attn.v_proj", new Linear(draw.normal(4, 8), null))
          .with(block + ".self_attn.o_proj", new Linear(draw.normal(8, 8), null))
          .with(block + ".mlp.up_proj", new Linear(draw.normal(12, 8), null))
          .with(block + ".mlp.down_proj", new Linear(draw.normal(8, 12), null))
          .with(block + ".input_layernorm", new RmsNorm(draw.normal(8), 1e-6));
    }
    return tree.with("model.norm", new RmsNorm(draw.normal(8), 1e-6))
        .with("lm_head", new Linear(draw.normal(20, 8), null));
  }

  /** A decoder with a mixture of experts in each block. */
  public static Tree experts(int blocks) {
    var draw = new Draw(8);
    Tree tree = decoder(blocks);
    for (int i = 0; i < blocks; i++) {
      String experts = "model.layers." + i + ".mlp.experts.";
      tree.with(experts + "gate_up_proj", new ExpertWeight(draw.normal(3, 10, 8), false))
          .with(experts + "down_proj", new ExpertWeight(draw.normal(3, 8, 5), false));
    }
    return tree;
  }

  /** The largest difference of an entry. */
  public static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  /** A value that must be there. */
  public static <T> T there(@Nullable T value) {
    return Objects.requireNonNull(value);
  }

  /** Facts about {@link #decoder}. */
  public static ModelFacts facts() {
    return ModelFacts.of("llama").withEmbeddings("model.embed_tokens", "lm_head");
  }

  /** Random tensors that are the same each time. */
  public static final class Draw {
    private final Generator generator;

    /** Draws from a seed. */
    public Draw(long seed) {
      generator = torch.createCPUGenerator(seed);
    }

    /** Standard normal, float32. */
    public Tensor normal(long... shape) {
      return torch.empty(shape).normal_(0, 1, new GeneratorOptional(generator));
    }
  }
}
