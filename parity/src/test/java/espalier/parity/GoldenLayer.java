package espalier.parity;

import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.MultiheadAttention;
import espalier.nn.TransposedLinear;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import tools.jackson.databind.JsonNode;

/** A single layer as {@code layer} in a case describes it. */
final class GoldenLayer {

  private final JsonNode spec;
  private final String type;

  GoldenLayer(JsonNode spec) {
    this.spec = spec;
    this.type = spec.required("type").asString();
  }

  /** The layer's output, attention with itself where it is attention. */
  static Tensor forward(Layer layer, Tensor x) {
    return switch (layer) {
      case MultiheadAttention attention -> attention.forward(x);
      case Adaptable adaptable -> adaptable.forward(x);
      default -> throw new AssertionError(layer.typeName() + " has no forward");
    };
  }

  /** The path in a {@link Box} of the layer that adapters go on. */
  String path() {
    return type.equals("experts") ? "layer.weight" : "layer";
  }

  /** Whether a linear layer stores its weight as [in, out]. */
  boolean transposed() {
    return type.equals("gpt2_conv1d");
  }

  /** A model that holds the layer, and nothing else. */
  Box box(Layer layer) {
    return new Box(type.equals("experts") ? new Box.Holder("weight", layer) : layer);
  }

  /**
   * The layer over given parameters.
   *
   * @param base {@code weight}, and {@code bias} where there is one; of attention all four
   */
  Layer over(Map<String, Tensor> base) {
    if (type.equals("attention")) {
      return new MultiheadAttention(base::get, number("heads"));
    }
    Tensor weight = Objects.requireNonNull(base.get("weight"), "the case has no base.weight");
    Tensor bias = base.get("bias");
    return switch (type) {
      case "linear" -> new Linear(weight, bias);
      case "gpt2_conv1d" -> new TransposedLinear(weight, bias);
      case "embedding" -> new Embedding(weight, spec.path("padding_idx").asLong(-1), 1);
      case "conv1d", "conv2d", "conv3d" -> new Convolution(weight, bias, geometry());
      case "experts" -> new ExpertWeight(weight, spec.path("is_transposed").asBoolean(false));
      default -> throw unknown();
    };
  }

  /** A layer whose parameters are drawn, for cases where the numbers do not matter. */
  Layer drawn() {
    if (type.equals("attention")) {
      long width = number("dim");
      return over(
          Map.of(
              "in_proj_weight", randn(new long[] {3 * width, width}),
              "in_proj_bias", randn(new long[] {3 * width}),
              "out_proj.weight", randn(new long[] {width, width}),
              "out_proj.bias", randn(new long[] {width})));
    }
    var base = new LinkedHashMap<String, Tensor>();
    base.put("weight", randn(weightShape()).mul(new Scalar(0.4)));
    if (spec.path("bias").asBoolean(!type.equals("embedding") && !type.equals("experts"))) {
      base.put("bias", randn(new long[] {number("out")}));
    }
    return over(base);
  }

  /** An input that fits the layer, drawn. */
  Tensor drawnInput() {
    return switch (type) {
      case "linear", "gpt2_conv1d" -> randn(new long[] {2, 5, number("in")});
      case "attention" -> randn(new long[] {2, 5, number("dim")});
      case "embedding" ->
          torch.randint(number("num"), new long[] {2, 7}, new TensorOptions(ScalarType.Long));
      case "conv1d" -> randn(new long[] {2, number("in"), 11});
      case "conv2d" -> randn(new long[] {2, number("in"), 7, 6});
      case "conv3d" -> randn(new long[] {2, number("in"), 5, 4, 6});
      case "experts" -> randn(new long[] {number("num"), 4, number("in")});
      default -> throw unknown();
    };
  }

  private long[] weightShape() {
    return switch (type) {
      case "linear" -> new long[] {number("out"), number("in")};
      case "gpt2_conv1d" -> new long[] {number("in"), number("out")};
      case "embedding" -> new long[] {number("num"), number("dim")};
      case "conv1d", "conv2d", "conv3d" ->
          LongStream.concat(
                  LongStream.of(number("out"), number("in") / groups()),
                  Arrays.stream(sizes("kernel", 1)))
              .toArray();
      case "experts" ->
          spec.path("is_transposed").asBoolean(false)
              ? new long[] {number("num"), number("in"), number("out")}
              : new long[] {number("num"), number("out"), number("in")};
      default -> throw unknown();
    };
  }

  private Convolution.Geometry geometry() {
    return new Convolution.Geometry(
        sizes("stride", 1),
        sizes("padding", 0),
        sizes("dilation", 1),
        groups(),
        spec.path("padding_mode").asString("zeros"));
  }

  private long groups() {
    return spec.path("groups").asLong(1);
  }

  /** One number a kernel dimension; a single number in the case stands for all of them. */
  private long[] sizes(String field, long otherwise) {
    long[] sizes = new long[type.charAt(4) - '0'];
    JsonNode node = spec.path(field);
    for (int i = 0; i < sizes.length; i++) {
      sizes[i] = node.isArray() ? node.get(i).asLong() : node.asLong(otherwise);
    }
    return sizes;
  }

  private long number(String field) {
    return spec.required(field).asLong();
  }

  private AssertionError unknown() {
    return new AssertionError(
        "the layer type is %s but linear, gpt2_conv1d, embedding, conv1d, conv2d, conv3d, attention and experts are known"
            .formatted(type));
  }
}
