package espalier.models;

import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.topk;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import espalier.nn.Scope;
import java.nio.LongBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.T_TensorTensor_T;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A mixture of experts. Only the experts that a token of the batch was sent to are computed. */
final class Mixture implements Sublayer {

  private final FeedForwardSpec.Experts spec;
  private final ExpertWeight router; // [experts, hidden]
  private final ExpertWeight gateUp; // [experts, 2 * inner, hidden], the gates first
  private final ExpertWeight down; // [experts, hidden, inner]

  Mixture(FeedForwardSpec.Experts spec, Map<Part, Adaptable> made) {
    this.spec = spec;
    router = (ExpertWeight) Block.needed(made, Part.ROUTER);
    gateUp = (ExpertWeight) Block.needed(made, Part.EXPERTS_GATE_UP);
    down = (ExpertWeight) Block.needed(made, Part.EXPERTS_DOWN);
  }

  @Override
  public List<Tensor> project(Tensor x) {
    return List.of(mixed(x));
  }

  @Override
  public Tensor finish(List<Tensor> projected) {
    return projected.getFirst();
  }

  private Tensor mixed(Tensor x) {
    Tensor tokens = x.reshape(-1, x.size(-1)); // [N, hidden]
    T_TensorTensor_T best =
        topk(
            router.forward(tokens, 0).softmax(-1, new ScalarTypeOptional(ScalarType.Float)),
            spec.chosen(),
            -1,
            true,
            true);
    Tensor weights = best.get0(); // [N, chosen]
    if (spec.normalised()) {
      weights = weights.div(weights.sum(new long[] {-1}, true, new ScalarTypeOptional()));
    }
    long[][] sent = sent(best.get1());
    Tensor flat = weights.reshape(-1, 1);
    Tensor sum = zeros_like(tokens);
    for (int expert = 0; expert < sent.length; expert++) {
      if (sent[expert].length > 0) {
        add(sum, tokens, flat, expert, sent[expert]);
      }
    }
    return sum.view(x.shape());
  }

  private void add(Tensor sum, Tensor tokens, Tensor weights, int expert, long[] choices) {
    long[] rows = Arrays.stream(choices).map(choice -> choice / spec.chosen()).toArray();
    try (var _ = Scope.open()) {
      var options = tokens.options().dtype(new ScalarTypeOptional(ScalarType.Long));
      Tensor index = tensor(rows, options);
      Tensor both = gateUp.forward(tokens.index_select(0, index), expert);
      Tensor inner =
          spec.activation()
              .gated(both.narrow(-1, 0, spec.inner()), both.narrow(-1, spec.inner(), spec.inner()));
      Tensor y = down.forward(inner, expert).mul(weights.index_select(0, tensor(choices, options)));
      sum.index_add_(0, index, y.to(sum.scalar_type().intern()));
    }
  }

  /** For each expert the choices that fell on it, as indices into the flattened [N * chosen]. */
  private long[][] sent(Tensor best) {
    // One copy to the host for all experts; asking for each would wait for the device each time.
    LongBuffer chosen = best.cpu().contiguous().createBuffer();
    int choices = (int) best.numel();
    int[] experts = new int[choices];
    int[] counts = new int[spec.count()];
    for (int i = 0; i < choices; i++) {
      experts[i] = (int) chosen.get(i);
      counts[experts[i]]++;
    }
    long[][] sent = new long[spec.count()][];
    for (int e = 0; e < sent.length; e++) {
      sent[e] = new long[counts[e]];
      counts[e] = 0;
    }
    for (int i = 0; i < choices; i++) {
      sent[experts[i]][counts[experts[i]]++] = i;
    }
    return sent;
  }
}
