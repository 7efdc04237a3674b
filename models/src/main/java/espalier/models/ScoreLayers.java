package espalier.models;

import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.Linear;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.Set;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;

/**
 * The layers of a classifier's head; those that the checkpoint of a plain model lacks are drawn at
 * random.
 */
final class ScoreLayers {

  private final Tree tree;
  private final long hidden;
  private final double deviation;
  private final TensorOptions options;
  private final Set<String> fresh = new LinkedHashSet<>();

  ScoreLayers(Tree tree, Stack stack, ConfigFields in) {
    this.tree = tree;
    hidden = stack.spec().hidden();
    deviation = in.number("initializer_range", 0.02);
    options = stack.tokens().weight().options();
  }

  Linear linear(String path, long out, boolean bias) {
    if (tree.has(path + ".weight")) {
      return tree.head(path, out, hidden, bias);
    }
    fresh.add(path + ".weight");
    if (bias) {
      fresh.add(path + ".bias");
    }
    Tensor weight =
        empty(new long[] {out, hidden}, options, null)
            .normal_(0, deviation, new GeneratorOptional());
    Tensor none = bias ? zeros(new long[] {out}, options) : null;
    return tree.hang(path, new Linear(weight, none));
  }

  /** Parameters that were drawn, by path. */
  Set<String> fresh() {
    return Collections.unmodifiableSet(fresh);
  }
}
