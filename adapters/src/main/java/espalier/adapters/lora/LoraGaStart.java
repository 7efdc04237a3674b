package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.randperm;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Singular vectors of the weight's gradient become the factors, so that the first steps move the
 * weight as full fine-tuning would, and what they add is taken out of the base. Without a gradient
 * the factors start plainly.
 *
 * @see <a href="https://arxiv.org/abs/2407.05000">LoRA-GA, NeurIPS 2024</a>
 */
final class LoraGaStart {

  private static final int ITERATIONS = 4;

  private LoraGaStart() {}

  static LoraFactors of(
      LoraConfig config, LoraInit.LoraGa ga, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    Tensor gradient = init.prepared(LoraInit.LoraGa.GRADIENT);
    if (gradient == null || init.isBlank()) {
      return LoraFactors.draw(
          config, init, new long[] {r, layer.in()}, new long[] {layer.out(), r});
    }
    requireRoom(layer, path, r);
    PreparedShape.require(
        path,
        "the estimated gradient",
        gradient,
        "the cache or the model differs from that of LoraGa.preprocess; delete the cache and run it"
            + " again",
        layer.out(),
        layer.in());
    LoraFactors.drawFresh(init, r, layer);
    long count = Math.min(4L * r, Math.min(layer.in(), layer.out()));
    Svd svd = Svd.randomised(gradient.to(ScalarType.Float), count, ITERATIONS, init);
    Tensor forA = indexes(ga.direction(), r, false, init);
    Tensor forB =
        ga.direction() == LoraInit.Direction.RANDOM ? forA : indexes(ga.direction(), r, true, init);
    Tensor s = svd.s().index_select(0, forB);
    Tensor a = svd.vt().index_select(0, forA);
    Tensor b = svd.u().index_select(1, forB).mul(s);
    double factorOfB =
        switch (ga.scale()) {
          case STABLE -> Math.pow((double) layer.out(), 0.25) / Math.sqrt(ga.stableGamma());
          case WEIGHT_SVD -> ofWeight(config, layer, path, s, init);
          case GD_SCALE -> 1 / scaling(config, path);
          case UNIT -> 1;
        };
    double factorOfA = ga.scale() == LoraInit.Scale.GD_SCALE ? 1 / scaling(config, path) : 1;
    // Rounded to the base's dtype before they are taken out of it, so that what is taken out is
    // what the branch adds in that dtype.
    return LoraFactors.takenOut(
        config,
        layer,
        path,
        rounded(a.mul(new Scalar(factorOfA)), layer),
        rounded(b.mul(new Scalar(factorOfB)), layer));
  }

  private static void requireRoom(Linear layer, String path, int r) {
    long smaller = Math.min(layer.in(), layer.out());
    if (2L * r > smaller) {
      throw new ConfigException(
          "%s is [%d, %d] and r is %d but init_lora_weights lora_ga takes 2r singular vectors; give it a rank of %d or less in rank_pattern, or leave it out"
              .formatted(path, layer.out(), layer.in(), r, smaller / 2));
    }
  }

  /** Which of the first 2r triplets a factor takes, [r]. */
  private static Tensor indexes(LoraInit.Direction direction, int r, boolean b, Init init) {
    return switch (direction) {
      case AR_BR -> range(b ? 0 : 1, 2, r);
      case A2R_BR -> range(b ? 0 : r, 1, r);
      case AR_B2R -> range(b ? r : 0, 1, r);
      case RANDOM -> randperm(2L * r, new GeneratorOptional(init.generator())).narrow(0, 0, r);
    };
  }

  private static Tensor range(long first, long step, int count) {
    return tensor(LongStream.range(0, count).map(i -> first + i * step).toArray());
  }

  /** The largest singular value of the weight over that of B, or 1 where B has none. */
  private static double ofWeight(
      LoraConfig config, Linear layer, String path, Tensor s, Init init) {
    Tensor weight = StartWeight.of(config.init(), layer, path);
    Svd first = Svd.randomised(weight, config.rankAt(path), ITERATIONS, init);
    double largest = s.select(0, 0).item_double(); // waits for the device: once a layer
    return largest > 0 ? first.s().select(0, 0).item_double() / largest : 1;
  }

  private static double scaling(LoraConfig config, String path) {
    double scaling = config.scalingAt(path);
    if (scaling == 0) {
      throw new ConfigException(
          "%s has the scaling 0 but the scale gd_scale of lora_ga_config divides by it; give lora_alpha another value"
              .formatted(path));
    }
    return scaling;
  }

  private static Tensor rounded(Tensor factor, Linear layer) {
    return factor.to(layer.dtype()).to(ScalarType.Float);
  }
}
