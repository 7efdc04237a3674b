package espalier.adapters.shira;

import espalier.adapters.AdapterException;
import espalier.adapters.AdapterFormat;
import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * Several SHiRA adapters as one: the union of their entries, with weighted sums of their values.
 *
 * <pre>{@code
 * Fusion.of(adapters, Map.of("style", 1.0, "facts", 0.5)).attachAs("both");
 * }</pre>
 *
 * @see <a href="https://arxiv.org/abs/2406.13175">Sparse High Rank Adapters, section 3.2</a>
 */
public final class Fusion {

  private final Adapters adapters;
  private final Map<String, Double> weights;
  private final Map<String, Map<String, ShiraLinear>> byPath = new LinkedHashMap<>(); // path, name

  private Fusion(Adapters adapters, Map<String, Double> weights) {
    this.adapters = adapters;
    this.weights = weights;
  }

  /**
   * Adapters of one model and their weights. The fused one has the config's head of the one that
   * the model got first.
   *
   * @throws AdapterException if one of them is not there, or none is named
   * @throws UnsupportedAdapterException if one of them is not SHiRA, or trains whole layers too
   */
  public static Fusion of(Adapters adapters, Map<String, Double> weights) {
    if (weights.isEmpty()) {
      throw new AdapterException("nothing is named to be fused; name one adapter or more");
    }
    // In the model's order, whatever that of the given map: the first gives the fused one its head.
    var ordered = new LinkedHashMap<String, Double>();
    adapters.names().stream()
        .filter(weights::containsKey)
        .forEach(name -> ordered.put(name, Objects.requireNonNull(weights.get(name))));
    weights.forEach(ordered::putIfAbsent);
    var fusion = new Fusion(adapters, ordered);
    ordered.keySet().forEach(fusion::collect);
    return fusion;
  }

  private void collect(String name) {
    double weight = Objects.requireNonNull(weights.get(name));
    if (!Double.isFinite(weight)) {
      throw new AdapterException(
          "the weight of %s is %s but a finite number is needed; 1 adds it as it is"
              .formatted(name, weight));
    }
    for (Map.Entry<String, Adapter> on : adapters.on(name).entrySet()) {
      if (!(on.getValue() instanceof ShiraLinear shira)) {
        throw new UnsupportedAdapterException(
            "%s has a %s at %s but only SHiRA's entries can be fused"
                .formatted(name, on.getValue().typeName(), on.getKey()));
      }
      byPath.computeIfAbsent(on.getKey(), _ -> new LinkedHashMap<>()).put(name, shira);
    }
  }

  /** How the adapters meet, for each pair and each layer that both are on. */
  public List<Overlap> overlaps() {
    var found = new ArrayList<Overlap>();
    try (var _ = new NoGradGuard()) {
      byPath.forEach(
          (path, here) -> {
            List<String> names = List.copyOf(here.keySet());
            for (int i = 0; i < names.size(); i++) {
              for (String second : names.subList(i + 1, names.size())) {
                found.add(overlap(path, names.get(i), second, here));
              }
            }
          });
    }
    return List.copyOf(found);
  }

  private static Overlap overlap(
      String path, String first, String second, Map<String, ShiraLinear> here) {
    ShiraLinear one = Objects.requireNonNull(here.get(first));
    ShiraLinear two = Objects.requireNonNull(here.get(second));
    try (var _ = new PointerScope()) {
      long both = one.support().count() + two.support().count();
      long union = Union.positions(List.of(one, two)).size(0);
      double interference = one.deltaWeight().t().mm(two.deltaWeight()).norm().item_double();
      return new Overlap(path, first, second, both - union, interference);
    }
  }

  /**
   * Attaches the fused adapter to the model. It is a SHiRA adapter like any other; so that the
   * reference can read its file too, each layer is filled up with zero values to r·(out + in)
   * entries, r being the least that is enough for all layers.
   *
   * @param name its name
   * @return with a warning for each layer that is too small to be filled up, whose file only this
   *     library reads
   */
  public LoadResult attachAs(String name) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var unions = new LinkedHashMap<String, Union>();
      byPath.forEach((path, here) -> unions.put(path, Union.of(here, weights)));
      int r = unions.values().stream().mapToInt(Union::leastR).max().orElseThrow();
      var warnings = new ArrayList<String>();
      var saved = new LinkedHashMap<String, Tensor>();
      unions.forEach(
          (path, union) -> {
            if (!union.fits(r)) {
              warnings.add(
                  "%s has fewer than r·(out + in) entries for r %d, so the reference can not read the fused adapter"
                      .formatted(path, r));
            }
            Union filled = union.filledUp(r);
            Union full = storedTurned(path) ? filled.turned() : filled;
            saved.put(AdapterFormat.KEY_PREFIX + path + "." + ShiraLinear.VALUES, full.values());
            saved.put(AdapterFormat.KEY_PREFIX + path + "." + ShiraLinear.INDICES, full.indices());
          });
      boolean training = adapters.model().training();
      LoadResult result = adapters.load(name, config(r), saved, LoadOptions.defaults());
      adapters.model().train(training); // loading what is not to be trained ends training
      warnings.addAll(result.warnings());
      return new LoadResult(
          result.attached(),
          result.missing(),
          result.unexpected(),
          result.mismatched(),
          List.copyOf(warnings));
    }
  }

  /** Whether the layer stores its weight turned. */
  private boolean storedTurned(String path) {
    Map<String, ShiraLinear> here = Objects.requireNonNull(byPath.get(path));
    return here.values().iterator().next().layer().transposed();
  }

  private ShiraConfig config(int r) {
    var first = (ShiraConfig) adapters.config(weights.keySet().iterator().next());
    return ShiraConfig.defaults()
        .withHead(first.head())
        .withR(r)
        .withMask(ShiraMask.of(ShiraConfig.FUSED))
        .withOptions(MaskOptions.defaults().withConv1d(first.options().conv1d()))
        .withTargets(Targets.named(byPath.keySet().toArray(String[]::new)));
  }
}
