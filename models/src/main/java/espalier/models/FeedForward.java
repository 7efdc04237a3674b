package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Adaptable;
import espalier.nn.Remade;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.bytedeco.pytorch.Tensor;

/** The second half of a block: what an activation lies between, or experts. */
final class FeedForward {

  private FeedForward() {}

  static Sublayer of(FeedForwardSpec spec, Map<Part, Adaptable> made, double dropped) {
    return switch (spec) {
      case FeedForwardSpec.Gated(_, var activation, _) ->
          new Dense(
              List.of(Block.needed(made, Part.GATE), Block.needed(made, Part.UP)),
              from -> activation.gated(from.get(0), from.get(1)),
              Block.needed(made, Part.DOWN),
              dropped);
      case FeedForwardSpec.Plain(_, var activation, _) ->
          new Dense(
              List.of(Block.needed(made, Part.UP)),
              from -> activation.of(from.getFirst()),
              Block.needed(made, Part.DOWN),
              dropped);
      case FeedForwardSpec.Experts experts -> new Mixture(experts, made);
    };
  }

  private record Dense(
      List<Adaptable> first,
      Function<List<Tensor>, Tensor> activation,
      Adaptable down,
      double dropped)
      implements Sublayer {

    @Override
    public List<Tensor> project(Tensor x) {
      return first.stream().map(layer -> layer.forward(x)).toList();
    }

    /** The last layer does not keep what the activation gives it, unless it is dropped. */
    @Override
    public Tensor finish(List<Tensor> projected) {
      Tensor activated = activation.apply(projected);
      return dropped > 0 && down.training()
          ? down.forward(dropout(activated, dropped, true))
          : Remade.during(activated, projected, activation, down::forward);
    }
  }
}
