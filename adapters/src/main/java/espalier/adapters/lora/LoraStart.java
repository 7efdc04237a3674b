package espalier.adapters.lora;

import espalier.adapters.InitSource;
import espalier.adapters.StateMismatchException;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Arrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** How the factors on a layer start: one strategy for each {@link LoraInit}. */
final class LoraStart {

  private LoraStart() {}

  /** First factors A [r, V] and B [D, r] on an embedding. */
  static LoraFactors of(LoraConfig config, Embedding layer, String path, Init init) {
    int r = config.rankAt(path);
    Tensor freshA = init.normal(1, r, layer.vocabulary());
    Tensor freshB = init.normal(1, layer.width(), r);
    return switch (config.init()) {
      case LoraInit.Unset() -> new LoraFactors(freshA, freshB, null);
      case LoraInit.Mica() -> MicaStart.of(config, layer, path, init);
      default ->
          new LoraFactors(init.zero(r, layer.vocabulary()), init.normal(1, layer.width(), r), null);
    };
  }

  /**
   * First factors A [r, in] and B [out, r], with what they leave of the base.
   *
   * @param path the layer's path, for patterns and errors
   */
  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    long[] a = {r, layer.in()};
    long[] b = {layer.out(), r};
    Tensor firstA = init.prepared(InitSource.INITIAL + "lora_A.weight");
    Tensor firstB = init.prepared(InitSource.INITIAL + "lora_B.weight");
    if (config.init().takenOut() && firstA != null && firstB != null) {
      return remembered(config, layer, path, firstA, firstB);
    }
    return switch (config.init()) {
      case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian() ->
          LoraFactors.draw(config, init, a, b);
      case LoraInit.Orthogonal() -> OrthogonalStart.of(r, layer, init);
      case LoraInit.Pissa() -> PissaStart.of(config, layer, path, init);
      case LoraInit.FastPissa(int n) -> FastPissaStart.of(config, n, layer, path, init);
      case LoraInit.Olora() -> OloraStart.of(config, layer, path, init);
      case LoraInit.Mica() -> MicaStart.of(config, layer, path, init);
      case LoraInit.Loftq loftq -> LoftqStart.of(config, loftq, layer, path, init);
      case LoraInit.Corda _ -> CordaStart.of(config, layer, path, init);
      case LoraInit.Eva _ -> EvaStart.of(config, layer, path, init);
      case LoraInit.LoraGa ga -> LoraGaStart.of(config, ga, layer, path, init);
    };
  }

  /** The start of an adapter that is loaded, by the first factors that were saved with it. */
  private static LoraFactors remembered(
      LoraConfig config, Linear layer, String path, Tensor a, Tensor b) {
    int r = config.rankAt(path);
    if (a.size(0) != r || a.size(1) != layer.in() || b.size(0) != layer.out() || b.size(1) != r) {
      throw new StateMismatchException(
          "%s: the initial factors are %s and %s but [%d, %d] and [%d, %d] are needed; they belong to another adapter or model"
              .formatted(
                  path,
                  Arrays.toString(a.shape()),
                  Arrays.toString(b.shape()),
                  r,
                  layer.in(),
                  layer.out(),
                  r));
    }
    return LoraFactors.takenOut(
        config, layer, path, a.to(ScalarType.Float), b.to(ScalarType.Float));
  }
}
