package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adaptable;
import espalier.nn.Remade;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
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
        yield x -> {
          Tensor g = gate.forward(x);
          Tensor u = up.forward(x);
          return into(
              down,
              activation.gated(g, u),
              List.of(g, u),
              from -> activation.gated(from.get(0), from.get(1)),
              dropped);
        };
      }
      case FeedForwardSpec.Plain(_, var activation, _) -> {
        Adaptable up = Block.needed(made, Part.UP);
        Adaptable down = Block.needed(made, Part.DOWN);
        yield x -> {
          Tensor u = up.forward(x);
          return into(
              down, activation.of(u), List.of(u), from -> activation.of(from.getFirst()), dropped);
        };
      }
      case FeedForwardSpec.Experts experts -> new Mixture(experts, made);
    };
  }

  /** The last layer on what the activation gives, which it does not keep unless it is dropped. */
  private static Tensor into(
      Adaptable down,
      Tensor activated,
      List<Tensor> sources,
      Function<List<Tensor>, Tensor> formula,
      double dropped) {
    return dropped > 0 && down.training()
        ? down.forward(dropout(activated, dropped, true))
        : Remade.during(activated, sources, formula, down::forward);
  }
}
