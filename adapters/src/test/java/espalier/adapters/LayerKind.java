package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The kinds of layers that a method may adapt, each with a sample and an input. */
public enum LayerKind {
  LINEAR,
  LINEAR_WITHOUT_BIAS,
  CONV1D_OF_GPT2,
  EMBEDDING,
  SCALED_EMBEDDING,
  CONVOLUTION_1D,
  CONVOLUTION_2D,
  CONVOLUTION_3D;

  /** A layer with random weights of a dtype, the same each time. */
  public Adaptable layer(ScalarType dtype) {
    var draw = new Tree.Draw(name().length());
    return switch (this) {
      case LINEAR -> new Linear(draw.normal(6, 8).to(dtype), draw.normal(6).to(dtype));
      case LINEAR_WITHOUT_BIAS -> new Linear(draw.normal(6, 8).to(dtype), null);
      case CONV1D_OF_GPT2 ->
          new TransposedLinear(draw.normal(8, 6).to(dtype), draw.normal(6).to(dtype));
      case EMBEDDING -> new Embedding(draw.normal(10, 8).to(dtype));
      case SCALED_EMBEDDING -> new Embedding(draw.normal(10, 8).to(dtype), -1, 2.5);
      case CONVOLUTION_1D -> convolution(draw, dtype, "zeros", 1);
      case CONVOLUTION_2D -> convolution(draw, dtype, "reflect", 2);
      case CONVOLUTION_3D -> convolution(draw, dtype, "zeros", 3);
    };
  }

  private static Convolution convolution(
      Tree.Draw draw, ScalarType dtype, String padding, int dimensions) {
    long[] shape = new long[dimensions + 2];
    java.util.Arrays.fill(shape, 2);
    shape[0] = 6;
    shape[1] = 4;
    long[] two = new long[dimensions];
    java.util.Arrays.fill(two, 2);
    long[] one = new long[dimensions];
    java.util.Arrays.fill(one, 1);
    return new Convolution(
        draw.normal(shape).to(dtype),
        draw.normal(6).to(dtype),
        new Convolution.Geometry(two, one, two, 1, padding));
  }

  /** A gradient of the layer's weight, in its logical shape. */
  public Tensor gradient() {
    try (Adaptable layer = layer(ScalarType.Float)) {
      return new Tree.Draw(5).normal(layer.weight().shape());
    }
  }

  /** An input for the layer; token ids for an embedding. */
  public Tensor input(ScalarType dtype) {
    var draw = new Tree.Draw(100 + name().length());
    return switch (this) {
      case LINEAR, LINEAR_WITHOUT_BIAS, CONV1D_OF_GPT2 -> draw.normal(3, 5, 8).to(dtype);
      case EMBEDDING, SCALED_EMBEDDING -> Tensor.create(new long[] {1, 4, 4, 9, 0, 1}, 3, 2);
      case CONVOLUTION_1D -> draw.normal(3, 4, 9).to(dtype);
      case CONVOLUTION_2D -> draw.normal(3, 4, 7, 6).to(dtype);
      case CONVOLUTION_3D -> draw.normal(3, 4, 5, 6, 5).to(dtype);
    };
  }
}
