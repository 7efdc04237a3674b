package espalier.adapters.lora;

import espalier.adapters.calibration.Svd;
import espalier.nn.FourBit;
import espalier.nn.Init;
import espalier.nn.Int8Rows;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The base becomes values of a quantised grid and the adapter the best rank-r fit of what that
 * loses, in turns: Q ≈ W − B·A, then B·A ≈ W − Q. The scaling takes no part, so the fit is that of
 * a scaling of 1.
 *
 * @see <a href="https://arxiv.org/abs/2310.08659">LoftQ, ICLR 2024</a>
 */
final class LoftqStart {

  private static final double LARGEST_HALF = 65504;

  private LoftqStart() {}

  static LoraFactors of(
      LoraConfig config, LoraInit.Loftq loftq, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    LoraFactors.drawFresh(init, r, layer);
    Tensor weight = StartWeight.of(loftq, layer, path);
    Tensor grid = rounded(weight, loftq.bits());
    long count = Math.min(r, Math.min(layer.in(), layer.out()));
    Svd fit = Svd.largest(weight.sub(grid), count);
    for (int i = 1; i < loftq.iterations(); i++) {
      grid = rounded(weight.sub(fit.leftHalf().matmul(fit.rightHalf())), loftq.bits());
      fit = Svd.largest(weight.sub(grid), count);
    }
    return new LoraFactors(
        LoraFactors.rows(fit.rightHalf(), r),
        LoraFactors.columns(fit.leftHalf(), r),
        null,
        false,
        (layer.transposed() ? grid.t().contiguous().t() : grid).to(layer.dtype()));
  }

  private static Tensor rounded(Tensor weight, int bits) {
    return bits == 4
        ? FourBit.NF4.quantise(weight).dequantise()
        : Int8Rows.quantise(half(weight)).dequantise();
  }

  // The int8 kernels that the base is meant for take float16 weights, so the grid is theirs.
  private static Tensor half(Tensor weight) {
    return weight.clamp(bound(-LARGEST_HALF), bound(LARGEST_HALF)).to(ScalarType.Half);
  }

  private static ScalarOptional bound(double value) {
    return new ScalarOptional(new Scalar(value));
  }
}
