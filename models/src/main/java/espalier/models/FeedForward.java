package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adaptable;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** The second half of a block without its norm: x [B, T, hidden] to the same shape. */
@FunctionalInterface
interface FeedForward {

  Tensor forward(Tensor x);

  static FeedForward of(FeedForwardSpec spec, Map<Part, Adaptable> made, double dropped) {
    return switch (spec) {
      case FeedForwardSpec.Gated(_, var activation, _) -> {
        Adaptable gate = Block.needed(made, Part.GATE);
        Adaptable up = Block.needed(made, Part.UP);
        Adaptable down = Block.needed(made, Part.DOWN);
        yield x ->
            down.forward(dropped(activation.gated(gate.forward(x), up.forward(x)), dropped, down));
      }
      case FeedForwardSpec.Plain(_, var activation, _) -> {
        Adaptable up = Block.needed(made, Part.UP);
        Adaptable down = Block.needed(made, Part.DOWN);
        yield x -> down.forward(dropped(activation.of(up.forward(x)), dropped, down));
      }
      case FeedForwardSpec.Experts experts -> new Mixture(experts, made);
    };
  }

  private static Tensor dropped(Tensor x, double probability, Adaptable layer) {
    return probability > 0 && layer.training() ? dropout(x, probability, true) : x;
  }
}
