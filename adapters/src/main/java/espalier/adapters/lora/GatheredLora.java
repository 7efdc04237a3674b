package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;

import espalier.nn.Exchange;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** LoRA with B split along the outputs, whose branch is put together as the layer's output is. */
final class GatheredLora extends ParallelLora {

  GatheredLora(LoraConfig config, Linear layer, String path, Init init, Partition partition) {
    super(config, layer, path, init, partition);
  }

  @Override
  public Tensor first(Tensor x) {
    return forward(x, layer().base(x));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor branch = product(hidden(dropped(rows(x))), b());
    Tensor whole = Exchange.gathered(partition().ranks(), branch).to(y.scalar_type().intern());
    return shaped(rows(y).add(whole, new Scalar(scaling())), x);
  }
}
