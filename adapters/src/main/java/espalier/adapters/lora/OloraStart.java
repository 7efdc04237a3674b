package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.linalg_qr;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

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
    Tensor weight = StartWeight.of(config.init(), layer, path);
    long k = Math.min(r, Math.min(layer.in(), layer.out()));
    // The first columns of Q and of R come from the first columns of W alone, and the rows of R
    // beside them are QᵀW: a whole decomposition would be thrown away.
    try (var qr = linalg_qr(weight.narrow(1, 0, k))) {
      Tensor b = new Tensor(qr.get0());
      Tensor rest = b.t().matmul(weight.narrow(1, k, layer.in() - k));
      Tensor a = cat(new TensorVector(qr.get1(), rest), 1);
      return LoraFactors.takenOut(config, layer, path, a, b);
    }
  }
}
