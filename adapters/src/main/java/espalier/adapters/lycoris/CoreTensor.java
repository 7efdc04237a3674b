package espalier.adapters.lycoris;

import org.bytedeco.pytorch.Tensor;

/**
 * A kernel by a core tensor and one factor each for outputs and inputs (CP decomposition), which
 * leaves the places of the kernel together.
 *
 * @see <a href="https://arxiv.org/abs/2108.06098">FedPara, proposition 3</a>
 */
public final class CoreTensor {

  private CoreTensor() {}

  /**
   * The kernel, as autograd sees it.
   *
   * @param core [r, r, k, k']
   * @param outputs [r, out]
   * @param inputs [r, in]
   * @return [out, in · k · k']
   */
  public static Tensor kernel(Tensor core, Tensor outputs, Tensor inputs) {
    long r = core.size(0);
    long places = core.numel() / (r * r);
    Tensor left = outputs.t().mm(core.reshape(r, r * places)); // [out, r·k]
    Tensor moved = left.view(outputs.size(1), r, places).transpose(1, 2); // [out, k, r]
    return moved.matmul(inputs).transpose(1, 2).reshape(outputs.size(1), inputs.size(1) * places);
  }
}
