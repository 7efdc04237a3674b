package espalier.adapters.lora;

import espalier.nn.Adapter;
import java.util.Collection;
import java.util.Objects;
import java.util.function.Function;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What a variant of LoRA adds to the loss while it trains. */
final class LoraPenalty {

  private LoraPenalty() {}

  static @Nullable Tensor of(LoraVariant variant, Collection<Adapter> adapters) {
    return switch (variant) {
      case LoraVariant.Monteclora _ -> mean(adapters, MontecloraLinear.class, m -> m.penalty());
      case LoraVariant.Kasa(double beta, double gamma) ->
          sum(adapters, KasaLinear.class, kasa -> kasa.penalty(beta, gamma));
      default -> null;
    };
  }

  private static <A extends Adapter> @Nullable Tensor mean(
      Collection<Adapter> adapters, Class<A> type, Function<A, Tensor> term) {
    long count =
        adapters.stream().filter(adapter -> type.isInstance(adapter) && adapter.training()).count();
    Tensor sum = sum(adapters, type, term);
    return sum == null ? null : sum.div(new Scalar((double) count));
  }

  /** The sum over the layers that are in training mode, or null if none is. */
  static <A extends Adapter> @Nullable Tensor sum(
      Collection<Adapter> adapters, Class<A> type, Function<A, Tensor> term) {
    return adapters.stream()
        .filter(type::isInstance)
        .map(type::cast)
        .filter(Adapter::training)
        .map(term)
        .reduce(Tensor::add)
        .map(Objects::requireNonNull)
        .orElse(null);
  }
}
