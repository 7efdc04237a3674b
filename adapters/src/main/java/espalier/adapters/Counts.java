package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** How many parameters a model has, and how many of them are trained; shared ones count once. */
final class Counts {

  private final Set<Long> seen = new HashSet<>();
  private long trainable;
  private long total;

  private Counts() {}

  static Counts of(Layer model) {
    var counts = new Counts();
    try (var _ = new PointerScope()) {
      model.walk(
          (_, layer) -> {
            layer.parameters().values().forEach(counts::add);
            if (layer instanceof Linear linear && linear.quantised() != null) {
              counts.total += linear.in() * linear.out(); // as many as the codes stand for
            }
            if (layer instanceof Adaptable adaptable) {
              adaptable
                  .adapters()
                  .all()
                  .values()
                  .forEach(adapter -> adapter.parameters().values().forEach(counts::add));
            }
          });
    }
    return counts;
  }

  private void add(Tensor parameter) {
    if (seen.add(parameter.data_ptr().address())) {
      total += parameter.numel();
      trainable += parameter.requires_grad() ? parameter.numel() : 0;
    }
  }

  long trainable() {
    return trainable;
  }

  long total() {
    return total;
  }

  String line() {
    return String.format(
        Locale.ROOT,
        "trainable params: %,d || all params: %,d || trainable%%: %.4f",
        trainable,
        total,
        total == 0 ? 0 : 100.0 * trainable / total);
  }
}
