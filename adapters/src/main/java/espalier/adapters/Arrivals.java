package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;

/** The ways in which adapters come to a model: new, or with the tensors of a file. */
final class Arrivals {

  private final AdapterSet set;
  private final Activation activation;
  private final Map<Class<? extends Adaptable>, AdapterFactory> factories = new HashMap<>();
  private boolean mixedMethods;

  Arrivals(AdapterSet set, Activation activation) {
    this.set = set;
    this.activation = activation;
  }

  void allowMixedMethods() {
    mixedMethods = true;
  }

  void register(Class<? extends Adaptable> type, AdapterFactory factory) {
    factories.put(type, factory);
  }

  /** What the caller makes adapters by, for kinds of layers that he registered. */
  Map<Class<? extends Adaptable>, AdapterFactory> factories() {
    return factories;
  }

  /** Attaches a new adapter and makes it the active one. */
  Attached attach(String name, AdapterConfig config, AttachOptions options) {
    var warnings = new ArrayList<String>();
    if (!set.names().isEmpty()) {
      warnings.add("the model has the adapters %s already".formatted(set.names()));
    }
    Entry entry = joining().join(name, config, options, null, warnings).entry();
    warnings.addAll(activation.activate(List.of(name), config.head().inferenceMode()));
    return entry.attached(AdapterSet.told(warnings));
  }

  /** Attaches a new adapter and leaves the active ones as they are. */
  Attached add(String name, AdapterConfig config, AttachOptions options) {
    var warnings = new ArrayList<String>();
    Entry entry = joining().join(name, config, options, null, warnings).entry();
    return entry.attached(AdapterSet.told(warnings));
  }

  /** Attaches an adapter with tensors of a file, and makes it active if it is the first. */
  LoadResult load(
      String name,
      AdapterConfig config,
      Map<String, Tensor> saved,
      Map<String, Tensor> initial,
      LoadOptions options) {
    boolean first = set.names().isEmpty();
    Layer model = set.model();
    var warnings = new ArrayList<>(Devices.check(model, options));
    if (config.unrepeatableStart() && initial.isEmpty()) {
      warnings.add(
          "the start of %s can not be repeated without its first values, so the base is not quite the one that it was trained on; convert it to plain LoRA where its initial adapter is at hand"
              .formatted(name));
    }
    AdapterConfig own = config.withHead(config.head().withInferenceMode(!options.trainable()));
    var attaching =
        AttachOptions.of(InitSource.blank().withInitial(initial))
            .withAutocast(options.autocast())
            .withLowMemory(options.lowMemory());
    var joined = joining().join(name, own, attaching, new Joining.Saved(saved, options), warnings);
    if (first) {
      warnings.addAll(activation.activate(List.of(name), !options.trainable()));
    }
    if (!options.trainable()) {
      model.train(false);
    }
    return new LoadedTensors(set)
        .finish(joined.entry(), Objects.requireNonNull(joined.fit()), warnings);
  }

  private Joining joining() {
    return new Joining(set, factories, mixedMethods);
  }
}
