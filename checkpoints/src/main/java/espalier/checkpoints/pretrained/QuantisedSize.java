package espalier.checkpoints.pretrained;

import espalier.models.Model;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import java.util.HashMap;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * How much of a model is quantised; weights that are shared count once.
 *
 * @param bytes that the quantised weights take
 * @param numbers how many numbers they stand for
 */
record QuantisedSize(long bytes, long numbers) {

  static QuantisedSize of(Model model) {
    var weights =
        model.layers().values().stream()
            .filter(Linear.class::isInstance)
            .map(layer -> ((Linear) layer).quantised())
            .filter(Objects::nonNull)
            .collect(
                Collectors.toMap(
                    QuantisedWeight::identity,
                    Function.identity(),
                    (first, _) -> first,
                    HashMap::new))
            .values();
    return new QuantisedSize(
        weights.stream().mapToLong(QuantisedWeight::bytes).sum(),
        weights.stream().mapToLong(weight -> weight.out() * weight.in()).sum());
  }
}
