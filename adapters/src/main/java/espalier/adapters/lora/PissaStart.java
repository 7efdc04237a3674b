package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The r largest singular triplets of the weight become the adapter, and the rest stays in the base:
 * training moves what matters most in W, and W = W_res + s·B·A at the start.
 *
 * @see <a href="https://arxiv.org/abs/2404.02948">PiSSA, NeurIPS 2024</a>
 */
final class PissaStart {

  private PissaStart() {}

  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    LoraFactors.drawFresh(init, r, layer);
    Tensor weight = StartWeight.of(config.init(), layer, path);
    long count = Math.min(r, Math.min(layer.in(), layer.out()));
    return principal(config, layer, path, Svd.largest(weight, count));
  }

  /** Factors from the first triplets, so that s·B·A is what they are of the weight. */
  static LoraFactors principal(LoraConfig config, Linear layer, String path, Svd svd) {
    double scaling = config.scalingAt(path);
    if (!(scaling > 0)) {
      throw new ConfigException(
          "%s has the scaling %s but init_lora_weights %s takes its root; give lora_alpha and alpha_pattern positive values"
              .formatted(path, scaling, LoraFormat.word(config.init())));
    }
    Svd first = svd.first(config.rankAt(path));
    Tensor shared = first.s().div(new Scalar(scaling));
    Svd halves = new Svd(first.u(), shared, first.vt());
    return LoraFactors.takenOut(config, layer, path, halves.rightHalf(), halves.leftHalf());
  }
}
