package espalier.models;

import static org.bytedeco.pytorch.global.torch.cat;

import espalier.nn.Adaptable;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/** Another number of tokens for the layers that have a row for each. */
final class Resizing {

  private final Map<String, Adaptable> layers; // by path; the input embedding comes first
  private final int vocabulary;

  Resizing(Map<String, Adaptable> layers, int vocabulary) {
    this.layers = layers;
    this.vocabulary = vocabulary;
    if (vocabulary < 1) {
      throw new IllegalArgumentException(
          "a vocabulary of %d tokens was asked for but a model has one at least"
              .formatted(vocabulary));
    }
    layers.forEach(Resizing::requireFree);
  }

  private static void requireFree(String path, Adaptable layer) {
    if (layer.partition() != null) {
      throw new IllegalStateException(
          "%s is split over ranks; resize the vocabulary before the model is split"
              .formatted(path));
    }
    if (!layer.adapters().all().isEmpty()) {
      throw new IllegalStateException(
          "%s has the adapters %s; resize the vocabulary before adapters come there"
              .formatted(path, layer.adapters().all().keySet()));
    }
  }

  /** Works all weights out, and only then puts them in place; what was shared stays shared. */
  void run(NewRows rows) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var made = new ArrayList<Tensor>();
      var before = new ArrayList<Long>();
      var after = new LinkedHashMap<Adaptable, Tensor>();
      layers.forEach(
          (path, layer) -> {
            long address = layer.weight().data_ptr().address();
            int shared = before.indexOf(address);
            if (shared < 0) {
              made.add(resized(path, layer.weight(), rows));
              before.add(address);
            }
            after.put(layer, shared < 0 ? made.getLast() : made.get(shared));
          });
      after.forEach(Adaptable::rebase);
    }
  }

  private Tensor resized(String path, Tensor weight, NewRows rows) {
    long count = vocabulary - weight.size(0);
    if (count <= 0) {
      return weight.narrow(0, 0, vocabulary).clone();
    }
    Tensor fresh = Scope.result(() -> checked(path, weight, rows.of(path, weight, count), count));
    var parts = new TensorVector();
    parts.push_back(weight);
    parts.push_back(fresh.to(weight.device(), weight.scalar_type().intern()));
    return cat(parts, 0);
  }

  private static Tensor checked(String path, Tensor weight, Tensor fresh, long count) {
    if (fresh.dim() != 2 || fresh.size(0) != count || fresh.size(1) != weight.size(1)) {
      throw new IllegalArgumentException(
          "the rows for new tokens of %s must be [%d, %d]".formatted(path, count, weight.size(1)));
    }
    return fresh;
  }

  /** The layers at these paths that are there, each once. */
  static Map<String, Adaptable> layers(Model model, List<String> paths) {
    var layers = new LinkedHashMap<String, Adaptable>();
    for (String path : paths) {
      @Nullable Object layer = model.find(path);
      if (layer instanceof Adaptable adaptable) {
        layers.put(path, adaptable);
      }
    }
    return layers;
  }
}
