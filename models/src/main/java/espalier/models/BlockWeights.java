package espalier.models;

import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import espalier.nn.Weights;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The weights of a block that is there already, for another block that shares them. */
final class BlockWeights implements Weights {

  private static final String PREFIX = "block.";

  private final Layer block;
  private final Map<String, Tensor> tensors;

  BlockWeights(Layer block) {
    this.block = block;
    tensors = block.namedParameters();
  }

  @Override
  public @Nullable Tensor find(String key) {
    return tensors.get(key.substring(PREFIX.length()));
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    String path = key.substring(PREFIX.length(), key.length() - ".weight".length());
    QuantisedWeight codes = block.find(path) instanceof Linear linear ? linear.quantised() : null;
    return codes == null ? null : codes.withDtype(codes.dtype());
  }
}
