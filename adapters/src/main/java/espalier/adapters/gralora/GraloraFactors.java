package espalier.adapters.gralora;

import static org.bytedeco.pytorch.global.torch.stack;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * First values of the factors, float32.
 *
 * @param a [k, in/k, r]
 * @param b [k, r, out/k]
 * @param generalA [hybrid, in], or null without a general part
 * @param generalB [out, hybrid], or null without a general part
 */
record GraloraFactors(Tensor a, Tensor b, @Nullable Tensor generalA, @Nullable Tensor generalB) {

  /**
   * Draws in the reference's order, also what is thrown away. Each block of A is uniform in ±1/√of
   * its own inputs, so √k wider than LoRA's.
   */
  static GraloraFactors draw(GraloraConfig config, Linear layer, int r, Init init) {
    int k = config.k();
    long in = layer.in() / k;
    long out = layer.out() / k;
    var blocksOfA = new TensorVector();
    var blocksOfB = new TensorVector();
    for (int block = 0; block < k; block++) {
      blocksOfA.push_back(init.kaimingUniform(in, r, in));
      blocksOfB.push_back(config.neutral() ? init.zero(out, r) : init.kaimingUniform(r, out, r));
    }
    Tensor a = turned(blocksOfA);
    Tensor b = turned(blocksOfB);
    int hybrid = config.hybridR();
    if (hybrid == 0) {
      return new GraloraFactors(a, b, null, null);
    }
    Tensor _ = init.kaimingUniform(layer.in(), hybrid, layer.in());
    Tensor _ = init.kaimingUniform(hybrid, layer.out(), hybrid);
    return new GraloraFactors(
        a,
        b,
        init.kaimingUniform(layer.in(), hybrid, layer.in()),
        config.neutral()
            ? init.zero(layer.out(), hybrid)
            : init.kaimingUniform(hybrid, layer.out(), hybrid));
  }

  private static Tensor turned(TensorVector blocks) {
    return stack(blocks, 0).transpose(1, 2).contiguous();
  }
}
