package espalier.adapters.lora;

import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * Components of the weight as its inputs use it become the adapter, and the rest stays in the base:
 * those that matter most for the inputs of a task, or those that matter least for inputs whose
 * answers must be kept.
 *
 * @see <a href="https://arxiv.org/abs/2406.05223">CorDA, NeurIPS 2024</a>
 */
final class CordaStart {

  private CordaStart() {}

  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    LoraFactors.drawFresh(init, r, layer);
    Tensor u = init.prepared(LoraInit.Corda.LEFT);
    Tensor s = init.prepared(LoraInit.Corda.VALUES);
    Tensor v = init.prepared(LoraInit.Corda.RIGHT);
    if (u == null || s == null || v == null) {
      if (init.isBlank()) { // a file fills the factors; who loads it tells what is missing
        return new LoraFactors(init.zero(r, layer.in()), init.zero(layer.out(), r), null);
      }
      throw new IllegalStateException(
          "%s has no components of its inputs, which init_lora_weights corda starts from; run Corda.preprocess before and attach with what it prepared, or train by a recipe, which does so"
              .formatted(path));
    }
    require(path, "S", s, r);
    require(path, "U", u, layer.out(), r);
    require(path, "V", v, layer.in(), r);
    return PissaStart.principal(config, layer, path, new Svd(u, s, v.t()));
  }

  private static void require(String path, String name, Tensor part, long... shape) {
    PreparedShape.require(
        path,
        "the prepared " + name,
        part,
        "the cache, the rank or the model differs from that of Corda.preprocess; delete the cache"
            + " and run it again",
        shape);
  }
}
