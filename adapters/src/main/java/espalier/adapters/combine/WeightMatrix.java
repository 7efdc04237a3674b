package espalier.adapters.combine;

import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.combine.LoraTensors.OnLayer;
import espalier.nn.Adaptable;
import espalier.nn.AttentionProjection;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import java.util.Arrays;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The weight of a layer as the matrix [out, in] that LoRA's factors B·A multiply to: of an
 * embedding [D, V], of a convolution [out, in·k...].
 *
 * @param layer the layer
 */
record WeightMatrix(Adaptable layer) {

  /**
   * The layer at a path.
   *
   * @throws UnsupportedAdapterException if its weight is no one matrix
   */
  static WeightMatrix on(Adaptable layer, String path) {
    boolean one =
        switch (layer) {
          case AttentionProjection _ -> false; // its branch counts twice on the way out
          case Linear _, Embedding _ -> true;
          case Convolution convolution -> convolution.geometry().groups() == 1;
          default -> false;
        };
    if (!one) {
      throw new UnsupportedAdapterException(
          "%s is a %s whose weight is not one matrix, so its update is not one B·A; leave it out of the adapter"
              .formatted(path, layer.typeName()));
    }
    return new WeightMatrix(layer);
  }

  /** A tensor of the weight's shape as the matrix, a view of it. */
  Tensor of(Tensor weight) {
    return switch (layer) {
      case Embedding _ -> weight.t();
      case Convolution _ -> weight.flatten(1, -1);
      default -> weight;
    };
  }

  /**
   * Factors as a file has them.
   *
   * @param a [r, in]
   * @param b [out, r]
   * @param bias [out], or null
   */
  OnLayer factors(Tensor a, Tensor b, @Nullable Tensor bias) {
    if (!(layer instanceof Convolution)) {
      return new OnLayer(a.contiguous(), b.contiguous(), bias, layer instanceof Embedding);
    }
    long[] shapeOfA = layer.weight().shape();
    long[] shapeOfB = new long[shapeOfA.length];
    Arrays.fill(shapeOfB, 1);
    shapeOfA[0] = a.size(0);
    shapeOfB[0] = b.size(0);
    shapeOfB[1] = b.size(1);
    return new OnLayer(a.reshape(shapeOfA), b.reshape(shapeOfB).contiguous(), bias, false);
  }
}
