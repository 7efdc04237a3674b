package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.linalg_qr;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The odd rows of a random rotation for A and its even rows for B: neither factor is zero, so both
 * learn from the first step, but rows of a rotation are orthogonal, so their product is.
 *
 * @see <a href="https://datta0.github.io/posts/rethink-lora-init/">Rethinking LoRA
 *     initialisations</a>
 */
final class OrthogonalStart {

  private OrthogonalStart() {}

  static LoraFactors of(int r, Linear layer, Init init) {
    LoraFactors.drawFresh(init, r, layer);
    if (init.isBlank()) {
      return new LoraFactors(init.zero(r, layer.in()), init.zero(layer.out(), r), null);
    }
    Tensor rotation = linalg_qr(init.normal(1, r, r)).get0();
    Tensor p = init.normal(1, layer.in(), r / 2);
    Tensor q = init.normal(1, r / 2, layer.out());
    Tensor a = p.matmul(every(rotation, 0)).t().div(new Scalar(10)).contiguous();
    Tensor b = q.t().matmul(every(rotation, 1)).div(new Scalar(10)).contiguous();
    return new LoraFactors(a, b, null);
  }

  private static Tensor every(Tensor rows, long start) {
    return rows.slice(0, new LongOptional(start), new LongOptional(rows.size(0)), 2);
  }
}
