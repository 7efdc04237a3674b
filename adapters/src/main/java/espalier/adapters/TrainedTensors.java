package espalier.adapters;

import espalier.nn.Shard;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Function;
import org.bytedeco.pytorch.Tensor;

/** What collects gradients on a model, by its key for an optimizer. */
final class TrainedTensors {

  private final AdapterSet set;

  TrainedTensors(AdapterSet set) {
    this.set = set;
  }

  Map<String, Tensor> parameters() {
    return each(AdapterTensors::trained);
  }

  /** How they are split over ranks; whole ones are absent. */
  Map<String, Shard> shards() {
    return each(AdapterTensors::shards);
  }

  private <T> Map<String, T> each(Function<AdapterTensors, Map<String, T>> what) {
    var training = new LinkedHashMap<String, AdapterTensors>();
    set.entries()
        .forEach(
            (name, entry) -> {
              AdapterTensors tensors = set.tensors(entry);
              if (!tensors.trained().isEmpty()) {
                training.put(name, tensors);
              }
            });
    boolean alone = training.size() == 1;
    var all = new LinkedHashMap<String, T>();
    training.forEach(
        (name, tensors) ->
            what.apply(tensors)
                .forEach((key, each) -> all.put(alone ? key : name + "/" + key, each)));
    return Collections.unmodifiableMap(all);
  }
}
