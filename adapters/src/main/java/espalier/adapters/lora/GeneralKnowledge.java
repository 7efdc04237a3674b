package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.AdapterException;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * Takes what general adapters know out of the experts of one layer: the mean of their factors is
 * subtracted from each expert's, A and B apart, once.
 *
 * @see <a href="https://arxiv.org/abs/2505.10939">GenKnowSub: Improving Modularity and Reusability
 *     of LLMs through General Knowledge Subtraction</a>
 */
final class GeneralKnowledge implements AutoCloseable {

  /** Factors as they were. */
  private record Original(Tensor a, Tensor b) {
    void close() {
      a.close();
      b.close();
    }
  }

  private final Map<LoraLinear, Optional<Original>> done = new LinkedHashMap<>();
  private boolean keeping;

  /** Keeps the factors of the experts that are still to come. */
  void keep() {
    keeping = true;
  }

  boolean begun() {
    return !done.isEmpty();
  }

  /** Subtracts from those that nothing was subtracted from yet. */
  void subtract(List<LoraLinear> experts, List<LoraLinear> generals, String where) {
    forget(experts);
    List<LoraLinear> newcomers = experts.stream().filter(e -> !done.containsKey(e)).toList();
    if (newcomers.isEmpty()) {
      return;
    }
    newcomers.forEach(expert -> requireShapes(expert, generals, where));
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor a = mean(generals, LoraLinear::a);
      Tensor b = mean(generals, LoraLinear::b);
      for (LoraLinear expert : newcomers) {
        done.put(
            expert,
            keeping
                ? Optional.of(
                    new Original(
                        Scope.own(expert.a().detach().clone()),
                        Scope.own(expert.b().detach().clone())))
                : Optional.empty());
        expert.a().sub_(a);
        expert.b().sub_(b);
      }
    }
  }

  private static void requireShapes(LoraLinear expert, List<LoraLinear> generals, String where) {
    for (LoraLinear general : generals) {
      if (!Arrays.equals(expert.a().shape(), general.a().shape())
          || !Arrays.equals(expert.b().shape(), general.b().shape())) {
        throw new AdapterException(
            "%s: an expert has the rank %d but a general adapter has %d, so it can not be subtracted; use experts of one rank"
                .formatted(where, expert.a().size(0), general.a().size(0)));
      }
    }
  }

  private static Tensor mean(Collection<LoraLinear> generals, Function<LoraLinear, Tensor> factor) {
    var factors = new TensorVector();
    generals.forEach(general -> factors.push_back(factor.apply(general)));
    return stack(factors).mean(0);
  }

  /** Puts the factors back that were kept, and is as if nothing had been subtracted from these. */
  void restore() {
    try (var _ = new NoGradGuard()) {
      done.forEach(
          (expert, original) ->
              original.ifPresent(
                  kept -> {
                    expert.a().copy_(kept.a());
                    expert.b().copy_(kept.b());
                  }));
    }
    done.values()
        .removeIf(
            original -> {
              original.ifPresent(Original::close);
              return original.isPresent();
            });
  }

  /** Lets go of experts that left the layer. */
  private void forget(List<LoraLinear> present) {
    done.entrySet()
        .removeIf(
            entry -> {
              boolean gone = !present.contains(entry.getKey());
              if (gone) {
                entry.getValue().ifPresent(Original::close);
              }
              return gone;
            });
  }

  @Override
  public void close() {
    forget(List.of());
  }
}
