package espalier.adapters.lora.starts;

import espalier.adapters.Tree;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A small model: q and k see the input, o the tanh of q, and its output goes on. */
final class Chain {

  final Tree tree;

  private Chain(Tree tree) {
    this.tree = tree;
  }

  /** Weights that are the same each time: q [10, 8], k [6, 8], o [8, 10]. */
  static Chain of(ScalarType dtype) {
    var draw = new Tree.Draw(21);
    return new Chain(
        Tree.empty()
            .with("block.q", new Linear(draw.normal(10, 8).to(dtype), null))
            .with("block.k", new Linear(draw.normal(6, 8).to(dtype), draw.normal(6).to(dtype)))
            .with("block.o", new TransposedLinear(draw.normal(10, 8).to(dtype), null)));
  }

  static Chain float32() {
    return of(ScalarType.Float);
  }

  Linear layer(String name) {
    return (Linear) tree.at("block." + name);
  }

  /** [..., 8] to [..., 8]; k only looks. */
  Tensor forward(Tensor x) {
    Tensor _ = layer("k").forward(x);
    return layer("o").forward(layer("q").forward(x).tanh());
  }

  static double relative(Tensor got, Tensor want) {
    Tensor wide = want.to(ScalarType.Double);
    return got.to(ScalarType.Double).sub(wide).norm().div(wide.norm()).item_double();
  }
}
