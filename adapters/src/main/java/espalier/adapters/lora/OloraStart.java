package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.linalg_qr;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * The first r columns of Q and rows of R, of W = Q·R, become B and A; the base keeps W − s·B·A.
 *
 * @see <a href="https://arxiv.org/abs/2406.01775">OLoRA: Orthonormal Low-Rank Adaptation</a>
 */
final class OloraStart {

  private OloraStart() {}

  static LoraFactors of(LoraConfig config, Linear layer, String path, Init init) {
    int r = config.rankAt(path);
    LoraFactors.drawFresh(init, r, layer);
    var qr = linalg_qr(StartWeight.of(config.init(), layer, path));
    long k = Math.min(r, qr.get1().size(0));
    Tensor a = qr.get1().narrow(0, 0, k);
    Tensor b = qr.get0().narrow(1, 0, k);
    return LoraFactors.takenOut(config, layer, path, a, b);
  }
}
