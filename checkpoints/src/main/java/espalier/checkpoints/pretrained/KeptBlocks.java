package espalier.checkpoints.pretrained;

import espalier.checkpoints.gguf.GgufModel;
import espalier.nn.QuantisedWeight;
import espalier.nn.Weights;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** The weights of a GGUF file whose matrices stay in its blocks. */
record KeptBlocks(GgufModel file, ScalarType dtype) implements Weights {

  @Override
  public @Nullable Tensor find(String key) {
    return file.has(key) ? file.tensor(key, dtype) : null;
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    return file.has(key) ? file.quantised(key, dtype) : null;
  }
}
