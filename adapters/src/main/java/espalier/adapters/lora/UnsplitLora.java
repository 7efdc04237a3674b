package espalier.adapters.lora;

import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;

/**
 * LoRA that each rank has whole, on a layer that is split but whose input and output are not. Only
 * merging looks at the part of the weight that is here.
 */
final class UnsplitLora extends LoraLinear {

  private final Shard weight;

  UnsplitLora(LoraConfig config, Linear layer, String path, Init init, Partition partition) {
    super(config, layer, path, WholeStart.of(config, layer, path, init, partition));
    weight = Objects.requireNonNull(partition.weight());
  }

  @Override
  Tensor ofInputs(Tensor a) {
    return weight.dimension() == 1 ? weight.of(a) : a;
  }

  @Override
  Tensor ofOutputs(Tensor b) {
    return weight.dimension() == 0 ? weight.of(b) : b;
  }
}
