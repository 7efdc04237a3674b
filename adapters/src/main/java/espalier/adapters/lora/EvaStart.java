package espalier.adapters.lora;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * A starts as principal components of the layer's inputs and B as zero. Until the components are
 * there A starts as a fresh layer has it.
 *
 * @see <a href="https://arxiv.org/abs/2410.07170">EVA: Explained Variance Adaptation</a>
 */
final class EvaStart {

  private EvaStart() {}

  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    Tensor fresh = init.kaimingUniform(layer.in(), r, layer.in());
    init.kaimingUniform(r, layer.out(), r).close();
    Tensor b = init.zero(layer.out(), r);
    Tensor components = init.prepared(LoraInit.Eva.COMPONENTS);
    if (components == null) {
      return new LoraFactors(fresh, b, null);
    }
    PreparedShape.require(
        path,
        "the prepared matrix of components",
        components,
        "it belongs to other ranks or another model; attach with the config that Eva gave with it",
        r,
        layer.in());
    // Copied, so that A lies in memory as a loaded one does: products of another layout round
    // otherwise, and a resumed run would end with other last bits.
    return new LoraFactors(fresh.copy_(components), b, null);
  }
}
