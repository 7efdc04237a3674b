package espalier.adapters.calibration;

import espalier.adapters.Tree;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.pytorch.Tensor;

/** Two layers with a tanh between them, and batches of 3, 5 and 2 tokens with their summed loss. */
public class TwoLayers {

  /** The layer that sees the input, with a bias. */
  public final Linear below;

  /** The layer that gives the output. */
  public final Linear above;

  /** Both of them. */
  public final Tree tree;

  /** Inputs [tokens, in]. */
  public final List<Tensor> batches;

  /** How often the batches were run. */
  public int runs;

  /** Layers [between, in] and [out, between], the same each time. */
  public TwoLayers(int in, int between, int out) {
    below = new Linear(new Tree.Draw(1).normal(between, in), new Tree.Draw(2).normal(between));
    above = new Linear(new Tree.Draw(3).normal(out, between), null);
    tree = Tree.empty().with("below", below).with("above", above);
    batches =
        List.of(
            new Tree.Draw(4).normal(3, in),
            new Tree.Draw(5).normal(5, in),
            new Tree.Draw(6).normal(2, in));
  }

  /** The loss of a batch, summed over its tokens. */
  public final Tensor loss(Tensor x) {
    return above.forward(below.forward(x).tanh()).square().sum();
  }

  /** Runs all batches forward and backward; returns their tokens. */
  public final long backward() {
    return backward(batches);
  }

  /** Runs some batches forward and backward; returns their tokens. */
  public final long backward(List<Tensor> some) {
    runs++;
    long tokens = 0;
    for (Tensor x : some) {
      try (var _ = Scope.graph()) {
        loss(x).backward();
      }
      tokens += x.size(0);
    }
    return tokens;
  }

  /** The gradient of a layer's own weight, summed over the batches. */
  public final Tensor dense(Linear layer) {
    layer.storedWeight().set_requires_grad(true);
    try (var _ = Scope.graph()) {
      batches.forEach(x -> loss(x).backward());
    }
    Tensor gradient = new Tensor(layer.storedWeight().grad()).clone();
    layer.storedWeight().mutable_grad().reset();
    layer.storedWeight().set_requires_grad(false);
    return gradient;
  }
}
