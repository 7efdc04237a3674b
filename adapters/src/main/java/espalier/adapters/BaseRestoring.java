package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Gives the base back what the start of an adapter took out, and makes the adapter one for that
 * base, so that the two together compute what they did. All is worked out before anything changes.
 */
final class BaseRestoring implements AutoCloseable {

  private final Entry entry;
  private final Map<Class<? extends Adaptable>, AdapterFactory> factories;
  private final Map<Adaptable, Adapter> made = new LinkedHashMap<>();
  private final Map<Adaptable, Tensor> weights = new LinkedHashMap<>();

  private BaseRestoring(Entry entry, Map<Class<? extends Adaptable>, AdapterFactory> factories) {
    this.entry = entry;
    this.factories = factories;
  }

  /** Restores what the start of one adapter took out; without such a start nothing happens. */
  static void of(
      AdapterSet set, String name, Map<Class<? extends Adaptable>, AdapterFactory> factories) {
    Entry entry = set.entry(name);
    if (set.on(name).values().stream().allMatch(adapter -> adapter.takenOut() == null)) {
      return;
    }
    set.requireUnmerged("the base can not be restored");
    try (var restoring = new BaseRestoring(entry, factories)) {
      set.lock().change(() -> restoring.run(set.active()));
    }
    entry.referenceRefusals(set.referenceRefusals());
  }

  private void run(List<String> active) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      AdapterConfig plain = null;
      for (var each : entry.adapted().entrySet()) {
        plain = prepare(each.getKey(), each.getValue());
      }
      commit(Objects.requireNonNull(plain), active);
    }
  }

  private AdapterConfig prepare(String path, Adaptable layer) {
    Adapter before = entry.on(layer);
    AdapterContents contents = entry.config().withoutStart(before.state(), before.initial());
    Adapter after =
        factories
            .getOrDefault(layer.getClass(), AdapterConfig::create)
            .create(contents.config(), layer, path, Init.blank());
    made.put(layer, after);
    after.to(before.dtype());
    after.load(contents.tensors());
    Tensor taken = before.takenOut();
    if (taken != null) {
      Tensor weight = layer.weight();
      Tensor whole = weight.to(ScalarType.Float).add(taken).to(weight.scalar_type().intern());
      weights.put(layer, Scope.own(whole));
    }
    return contents.config();
  }

  private void commit(AdapterConfig plain, List<String> active) {
    made.forEach(
        (layer, after) -> {
          Adapter before = entry.on(layer);
          after.scale(before.scale());
          boolean trainable = before.trainable();
          layer.adapters().detach(entry.name());
          layer.adapters().attach(entry.name(), after);
          layer.adapters().activate(active);
          after.trainable(trainable);
        });
    weights.forEach(Adaptable::rebase);
    made.clear();
    entry.config(plain);
    entry.changedBase(false);
  }

  /** The layers whose weight was changed for good by these adapters' starts, as warnings. */
  static List<String> warnings(Iterable<Entry> entries) {
    var warnings = new LinkedHashSet<String>();
    for (Entry entry : entries) {
      if (entry.changedBase()) {
        warnings.add(
            "the base stays as the start of %s changed it; load the model again, or call restoreBase before where the start allows it"
                .formatted(entry.name()));
      }
    }
    return List.copyOf(warnings);
  }

  @Override
  public void close() {
    made.values().forEach(Adapter::close);
    weights.values().forEach(Tensor::close);
  }
}
