package espalier.adapters.lora;

import espalier.nn.Init;
import espalier.nn.Linear;

/** How the factors on a linear layer start: one strategy for each {@link LoraInit}. */
final class LoraStart {

  private LoraStart() {}

  /**
   * First factors A [r, in] and B [out, r], with what they leave of the base.
   *
   * @param path the layer's path, for patterns and errors
   */
  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    long[] a = {r, layer.in()};
    long[] b = {layer.out(), r};
    return switch (config.init()) {
      case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian() ->
          LoraFactors.draw(config, init, a, b);
      case LoraInit.Orthogonal() -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Pissa() -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.FastPissa _ -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Olora() -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Mica() -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Loftq _ -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Corda _ -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.Eva _ -> throw LoraSupport.absent(config.init(), layer, path);
      case LoraInit.LoraGa _ -> throw LoraSupport.absent(config.init(), layer, path);
    };
  }
}
