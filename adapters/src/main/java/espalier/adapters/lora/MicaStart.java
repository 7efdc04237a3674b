package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.linalg_qr;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * B is the r left singular vectors of the weight that matter least, and stays so; A starts at zero
 * and is all that trains. What the model knows lies in the other directions and is not overwritten.
 *
 * @see <a href="https://arxiv.org/abs/2604.01694">MiCA: Minor Component Adaptation</a>
 */
final class MicaStart {

  private MicaStart() {}

  /** On a linear layer: A [r, in], B [out, r]. */
  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    LoraFactors.drawFresh(init, r, layer);
    return frozen(config, layer, path, init, layer.in(), layer.out());
  }

  /** On an embedding, whose product is Wᵀ [D, V]: A [r, V], B [D, r]. */
  static LoraFactors of(LoraConfig config, Embedding layer, String path, Init init) {
    return frozen(config, layer, path, init, layer.vocabulary(), layer.width());
  }

  private static LoraFactors frozen(
      LoraConfig config, Adaptable layer, String path, Init init, long in, long out) {
    int r = config.rankAt(path);
    if (r > Math.min(in, out)) {
      throw new ConfigException(
          "%s is [%d, %d] but r is %d; mica takes %d singular vectors at most, so lower r or rank_pattern"
              .formatted(path, out, in, r, Math.min(in, out)));
    }
    Tensor b = init.isBlank() ? init.zero(out, r) : minor(config, layer, path, r);
    return new LoraFactors(init.zero(r, in), b, null, true, null);
  }

  private static Tensor minor(LoraConfig config, Adaptable layer, String path, int r) {
    Tensor weight = StartWeight.of(config.init(), layer, path);
    Tensor map = layer instanceof Embedding ? weight.t() : weight; // [out, in]
    // The left vectors of a wide matrix are those of Rᵀ in its transpose's QR, and R is small: an
    // embedding's other vectors would be as large as the table.
    Tensor small = map.size(0) < map.size(1) ? linalg_qr(map.t(), "r").get1().t() : map;
    Tensor left = Svd.of(small).u();
    return left.narrow(1, left.size(1) - r, r).contiguous();
  }
}
