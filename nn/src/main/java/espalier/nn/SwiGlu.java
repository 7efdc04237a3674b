package espalier.nn;

import static org.bytedeco.pytorch.global.torch.silu;
import static org.bytedeco.pytorch.global.torch.silu_backward;

import java.util.List;
import org.bytedeco.pytorch.Tensor;

/** silu(gate) ⊙ up, keeping the two inputs only. */
public final class SwiGlu {

  private SwiGlu() {}

  /** Gated activation of two tensors of one shape. */
  public static Tensor of(Tensor gate, Tensor up) {
    return CustomFunction.apply(
        List.of(gate, up),
        List.of(gate, up),
        () -> silu(gate).mul_(up),
        (g, saved) -> {
          Tensor gateWas = saved.get(0);
          Tensor upWas = saved.get(1);
          Tensor forUp = silu(gateWas).mul_(g);
          Tensor forGate = silu_backward(upWas.mul(g), gateWas);
          return List.of(forGate, forUp);
        });
  }
}
