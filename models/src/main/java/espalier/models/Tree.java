package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.LayerNorm;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import espalier.nn.RmsNorm;
import espalier.nn.TransposedLinear;
import espalier.nn.Weights;
import java.util.Arrays;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A model's tree while it grows: makes a layer from what the checkpoint has under a path, checks
 * its shape, and hangs it there. Nodes on the way are made as they are needed.
 */
final class Tree implements AutoCloseable {

  private final Group root = new Group("Model");
  private final Weights weights;
  private boolean done;

  Tree(Weights weights) {
    this.weights = weights;
  }

  Group root() {
    return root;
  }

  /** Says that the tree has found an owner. Until then closing it frees what it holds. */
  <M extends Model> M finished(M model) {
    done = true;
    return model;
  }

  @Override
  public void close() {
    if (!done) {
      root.close();
    }
  }

  /** The node at {@code path}; a new one is of the given type. */
  Group node(String path, String typeName) {
    Group at = root;
    String[] names = path.split("\\.", -1);
    for (int i = 0; i < names.length; i++) {
      Layer next = at.children().get(names[i]);
      if (next instanceof Group group) {
        at = group;
      } else {
        var made = new Group(i == names.length - 1 ? typeName : typeOf(names[i]));
        at.hang(names[i], made);
        at = made;
      }
    }
    return at;
  }

  private static String typeOf(String name) {
    return switch (name) {
      case "self_attn", "attn", "attention", "self", "SelfAttention", "EncDecAttention" ->
          "Attention";
      case "mlp", "DenseReluDense", "intermediate" -> "FeedForward";
      case "experts" -> "Experts";
      case "gate" -> "TopKRouter";
      case "embeddings" -> "Embeddings";
      case "pooler" -> "Pooler";
      case "layer" -> "ModuleList";
      default -> "Module";
    };
  }

  <L extends Layer> L hang(String path, L layer) {
    int dot = path.lastIndexOf('.');
    Group parent = dot < 0 ? root : node(path.substring(0, dot), typeOf(lastOf(path, dot)));
    parent.hang(path.substring(dot + 1), layer);
    return layer;
  }

  private static String lastOf(String path, int end) {
    return path.substring(path.lastIndexOf('.', end - 1) + 1, end);
  }

  /** The tensor under {@code key}, which must have this shape. */
  Tensor tensor(String key, long... shape) {
    Tensor tensor = weights.get(key);
    requireShape(key, tensor.shape(), shape);
    return tensor;
  }

  private static void requireShape(String key, long[] found, long... shape) {
    if (!Arrays.equals(found, shape)) {
      throw new IllegalArgumentException(
          "%s is %s but the config asks for %s; config.json and the weights do not belong together"
              .formatted(key, Arrays.toString(found), Arrays.toString(shape)));
    }
  }

  boolean has(String key) {
    return weights.find(key) != null;
  }

  @Nullable Tensor find(String key) {
    return weights.find(key);
  }

  /** A projection inside of the model, whose weight stays in codes where the source has them. */
  Linear linear(String path, long out, long in, boolean bias, boolean transposed) {
    String key = path + ".weight";
    QuantisedWeight codes = weights.findQuantised(key);
    if (codes != null) {
      return hang(path, quantised(key, codes, out, in, transposed, bias ? path + ".bias" : null));
    }
    Tensor b = bias ? tensor(path + ".bias", out) : null;
    return transposed
        ? hang(path, new TransposedLinear(tensor(key, in, out), b))
        : hang(path, new Linear(tensor(key, out, in), b));
  }

  private Linear quantised(
      String key,
      QuantisedWeight codes,
      long out,
      long in,
      boolean transposed,
      @Nullable String bias) {
    try {
      requireShape(key, new long[] {codes.out(), codes.in()}, out, in);
      Tensor b = bias == null ? null : tensor(bias, out);
      return transposed ? new TransposedLinear(codes, b) : new Linear(codes, b);
    } catch (RuntimeException e) {
      codes.close();
      throw e;
    }
  }

  /** The layer that gives scores, whose weight is always a plain tensor. */
  Linear head(String path, long out, long in, boolean bias) {
    Tensor b = bias ? tensor(path + ".bias", out) : null;
    return hang(path, new Linear(tensor(path + ".weight", out, in), b));
  }

  Linear linear(String path, long out, long in, boolean bias) {
    return linear(path, out, in, bias, false);
  }

  Embedding embedding(String path, long rows, long width, long padding, double scale) {
    return hang(path, new Embedding(tensor(path + ".weight", rows, width), padding, scale));
  }

  Adaptable norm(String path, Norm norm, long width) {
    Tensor weight = tensor(path + ".weight", width);
    return switch (norm.kind()) {
      case LAYER ->
          hang(path, new LayerNorm(weight, tensor(path + ".bias", width), norm.epsilon()));
      case RMS -> hang(path, new RmsNorm(weight, norm.epsilon()));
      case RMS_PLUS_ONE -> hang(path, new RmsNorm(weight, norm.epsilon(), true));
    };
  }

  /** A parameter that is no layer's weight; it is called as its path says. */
  ExpertWeight parameter(String path, long... shape) {
    return hang(path, new ExpertWeight(tensor(path, shape), false));
  }
}
