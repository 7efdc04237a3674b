package espalier.adapters.lora;

import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * PiSSA by a randomised decomposition, which costs a few products with the weight in the place of
 * its whole decomposition. Loaded from a file without its first factors it becomes the exact one,
 * because the draws are not in the file.
 */
final class FastPissaStart {

  private FastPissaStart() {}

  static LoraFactors of(LoraConfig config, int iterations, Linear layer, String path, Init init) {
    if (init.isBlank()) {
      return PissaStart.of(config, layer, path, init);
    }
    LoraFactors.drawFresh(init, config.rankAt(path), layer);
    Tensor weight = StartWeight.of(config.init(), layer, path);
    long count = Math.min(config.rankAt(path), Math.min(layer.in(), layer.out()));
    Svd svd = Svd.randomised(weight, count, iterations, init);
    return PissaStart.principal(config, layer, path, svd);
  }
}
