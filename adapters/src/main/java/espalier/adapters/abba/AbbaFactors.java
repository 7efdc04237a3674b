package espalier.adapters.abba;

import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * First values of the two pairs, float32.
 *
 * @param b1 [out, r1]
 * @param a1 [r1, in]
 * @param b2 [out, r2]
 * @param a2 [r2, in]
 */
record AbbaFactors(Tensor b1, Tensor a1, Tensor b2, Tensor a2) {

  /**
   * The first pair is the best approximation of the weight of its rank, U√Σ and √ΣVᵀ. Of the second
   * pair B is zero, so that nothing changes at first, and A uniform in ±√(6 / in). A rank above
   * that of the weight leaves the surplus of the first pair zero.
   */
  static AbbaFactors start(AbbaConfig config, Linear layer, Init init) {
    long in = layer.in();
    long out = layer.out();
    Tensor b1 = init.zero(out, config.r1());
    Tensor a1 = init.zero(config.r1(), in);
    if (!init.isBlank()) {
      Tensor w = layer.originalWeight().to(ScalarType.Float);
      long r = Math.min(config.r1(), Math.min(in, out));
      Svd svd = Svd.of(w).first(r);
      b1.narrow(1, 0, r).copy_(svd.leftHalf());
      a1.narrow(0, 0, r).copy_(svd.rightHalf());
    }
    return new AbbaFactors(
        b1, a1, init.zero(out, config.r2()), init.uniform(Math.sqrt(6.0 / in), config.r2(), in));
  }
}
