package espalier.adapters.combine;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.combine.LoraTensors.OnLayer;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Embedding;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.ToDoubleBiFunction;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Makes one LoRA adapter out of several, on folders or on a model.
 *
 * <pre>{@code
 * Combining.add(adapters, List.of("law", "style"), List.of(1.0, 0.5), "both",
 *     Combination.of(CombinationType.CAT));
 * adapters.setActive(List.of("both"));
 * }</pre>
 *
 * <p>The scalings and weights of the sources go into the factors, so the result's own scaling is 1.
 * How far it is from the exact weighted sum of the updates is in the report.
 */
public final class Combining {

  private final List<SourceAdapter> sources;
  private final Combination how;
  private final Masks masks;
  private final Collection<String> paths; // in the model's order
  private final Set<String> transposed;

  private Combining(
      List<SourceAdapter> sources,
      Combination how,
      Masks masks,
      Collection<String> paths,
      Set<String> transposed) {
    this.sources = sources;
    this.how = how;
    this.masks = masks;
    this.paths = paths;
    this.transposed = transposed;
  }

  /** Combines adapters of a model, with masks of seed 0 where entries are dropped at random. */
  public static CombinationReport add(
      Adapters adapters,
      List<String> names,
      List<Double> weights,
      String newName,
      Combination how) {
    return add(adapters, names, weights, newName, how, Masks.seeded(0));
  }

  /**
   * Combines adapters of a model into a new one beside them, which is neither active nor trainable.
   * Merged weights and the base stay as they are.
   *
   * @param names the sources; one may be named twice
   * @param weights a factor for each
   * @param newName what the new adapter is called
   * @param masks what is kept where entries are dropped at random
   * @throws AdapterException if a source is not there, the new name is, or two sources have their
   *     own version of one layer; the model stays as it was, as with the exceptions below
   * @throws ConfigException if settings, ranks or targets do not go together
   * @throws UnsupportedAdapterException if a source is no plain LoRA
   */
  public static CombinationReport add(
      Adapters adapters,
      List<String> names,
      List<Double> weights,
      String newName,
      Combination how,
      Masks masks) {
    if (adapters.names().contains(newName)) {
      throw new AdapterException(
          "the adapter %s is there already; choose another name or delete it first"
              .formatted(newName));
    }
    if (names.size() != weights.size()) {
      throw new ConfigException(
          "there are %d weights for the %d adapters %s; give one for each"
              .formatted(weights.size(), names.size(), names));
    }
    try (var _ = Scope.open()) {
      var given = new ArrayList<WeightedAdapter>();
      for (int i = 0; i < names.size(); i++) {
        String name = names.get(i);
        // with the embeddings left out: on a model they are the same for all
        given.add(
            new WeightedAdapter(
                name,
                adapters.config(name),
                adapters.state(name, SaveEmbeddings.NO),
                weights.get(i)));
      }
      Combining combining =
          of(given, how, masks, (name, path) -> scale(adapters, name, path), adapters);
      Combined combined = combining.combined();
      ScalarType dtype = combining.dtype();
      boolean training = adapters.model().training();
      LoadResult loaded =
          adapters.load(
              newName,
              combined.config(),
              combined.tensors(),
              LoadOptions.defaults().withStrict(true));
      adapters.model().train(training); // loading what is not to be trained ends training
      adapters.on(newName).values().forEach(adapter -> adapter.to(dtype));
      var warnings = new ArrayList<>(combined.report().warnings());
      warnings.addAll(loaded.warnings());
      CombinationReport report = combined.report();
      return new CombinationReport(report.type(), report.rank(), report.errors(), warnings);
    }
  }

  private static double scale(Adapters adapters, String name, String path) {
    return Objects.requireNonNull(adapters.on(name).get(path), path).scale();
  }

  /** Combines adapters of folders, with masks of seed 0 where entries are dropped at random. */
  public static Combined combine(List<WeightedAdapter> sources, Combination how) {
    return combine(sources, how, Masks.seeded(0));
  }

  /**
   * Combines adapters of folders; no model is needed.
   *
   * @param masks what is kept where entries are dropped at random
   * @return tensors that belong to the current scope
   * @throws AdapterException if two sources have their own version of one layer
   * @throws ConfigException if settings, ranks or targets do not go together
   * @throws UnsupportedAdapterException if a source is no plain LoRA, or was trained on another
   *     base than the model's own
   */
  public static Combined combine(List<WeightedAdapter> sources, Combination how, Masks masks) {
    sources.forEach(Combining::requireOwnBase);
    return of(sources, how, masks, (_, _) -> 1, null).combined();
  }

  private static void requireOwnBase(WeightedAdapter source) {
    if (source.config() instanceof LoraConfig lora && lora.init().takenOut()) {
      throw new UnsupportedAdapterException(
          "%s starts from factors that were taken out of the base, so its update is not one of the base as it is; convert it to plain LoRA first, or combine on the model"
              .formatted(source.name()));
    }
  }

  private static Combining of(
      List<WeightedAdapter> given,
      Combination how,
      Masks masks,
      ToDoubleBiFunction<String, String> scale,
      @Nullable Adapters model) {
    if (given.isEmpty()) {
      throw new ConfigException("no adapter was named to combine; name one or more");
    }
    var sources = new ArrayList<SourceAdapter>();
    for (WeightedAdapter source : given) {
      sources.add(
          SourceAdapter.of(
              sources.size(),
              source,
              how.asPlainLora(),
              path -> scale.applyAsDouble(source.name(), path)));
    }
    SourceAdapter.requireSameReplication(sources);
    var paths = new LinkedHashSet<String>();
    sources.forEach(source -> paths.addAll(source.tensors().layers().keySet()));
    var transposed = new LinkedHashSet<String>();
    if (model != null) {
      var ordered = new ArrayList<>(model.model().layers().keySet());
      ordered.retainAll(paths);
      paths.retainAll(Set.of());
      paths.addAll(ordered);
      model
          .model()
          .layers()
          .forEach(
              (path, layer) -> {
                if (layer instanceof Embedding
                    || (layer instanceof Linear linear && linear.transposed())) {
                  transposed.add(path);
                }
              });
    }
    return new Combining(sources, how.with(sources.size()), masks, paths, transposed);
  }

  private ScalarType dtype() {
    String first = sources.getFirst().tensors().layers().keySet().iterator().next();
    return sources.getFirst().tensors().on(first).a().scalar_type().intern();
  }

  private Combined combined() {
    List<LoraConfig> configs = sources.stream().map(SourceAdapter::config).toList();
    var rank = CombinationRank.of(how, configs);
    boolean bias =
        sources.stream()
            .flatMap(source -> source.tensors().layers().values().stream())
            .anyMatch(layer -> layer.bias() != null);
    Ties ties = Ties.of(sources);
    LoraConfig config = CombinedConfig.of(configs, rank, paths, bias, ties.ensured(sources));
    Map<String, Tensor> others = CarriedOver.of(sources, paths);
    var tensors = new LinkedHashMap<String, Tensor>();
    var errors = new LinkedHashMap<String, Double>();
    for (String path : paths) {
      if (!ties.follows(path)) {
        tensors.putAll(Scope.results(() -> layer(path, rank.value(), bias, errors)));
      }
    }
    LoraTensors made = LoraTensors.of("the combination", tensors);
    ties.leaders()
        .forEach(
            (path, leader) -> {
              boolean embedding = like(path).embedding();
              tensors.putAll(made.on(leader).following(embedding).named(path));
              errors.put(path, Objects.requireNonNull(errors.get(leader)));
            });
    tensors.putAll(others);
    return new Combined(
        config, tensors, CombinationReport.of(how.type(), rank.value(), errors, how.warnings()));
  }

  private OnLayer like(String path) {
    return sources.stream().filter(s -> s.has(path)).findFirst().orElseThrow().tensors().on(path);
  }

  private Map<String, Tensor> layer(
      String path, int rank, boolean bias, Map<String, Double> errors) {
    try (var _ = new NoGradGuard()) {
      List<SourceAdapter> present = sources.stream().filter(s -> s.has(path)).toList();
      OnLayer like = present.getFirst().tensors().on(path);
      requireFitting(path, present, like, rank, bias);
      List<Share> shares = present.stream().map(s -> s.share(path).wide()).toList();
      Factors factors =
          new LayerCombination(how, masks, path, transposed.contains(path)).of(shares, rank);
      errors.put(path, RelativeError.of(factors, shares));
      return like.with(factors, bias ? bias(path, present, shares) : null).named(path);
    }
  }

  private static Tensor bias(String path, List<SourceAdapter> present, List<Share> shares) {
    OnLayer like = present.getFirst().tensors().on(path);
    Tensor sum = HalfPrecision.widened(like.b()).new_zeros(like.b().size(0));
    for (int i = 0; i < shares.size(); i++) {
      Tensor bias = present.get(i).tensors().on(path).bias();
      if (bias != null) {
        sum.add_(HalfPrecision.widened(bias), new Scalar(shares.get(i).total()));
      }
    }
    return sum;
  }

  private void requireFitting(
      String path, List<SourceAdapter> present, OnLayer like, int rank, boolean bias) {
    for (SourceAdapter source : present) {
      OnLayer other = source.tensors().on(path);
      boolean equal =
          how.type().form() == CombinationType.Form.FACTORS
              ? like.sameShapes(other)
              : like.sameLayer(other);
      if (!equal) {
        throw new ConfigException(
            "%s: %s has rank %d and %s has rank %d, or they are of different models; %s needs equal shapes on a layer, use cat or svd"
                .formatted(
                    path,
                    present.getFirst().name(),
                    like.rank(),
                    source.name(),
                    other.rank(),
                    how.type().word()));
      }
    }
    if (rank % like.groups() != 0) {
      throw new ConfigException(
          "%s has %d groups but the combination has rank %d; set svd_rank to a multiple"
              .formatted(path, like.groups(), rank));
    }
    if (bias && like.embedding()) {
      throw new UnsupportedAdapterException(
          "%s is an embedding, for which lora_bias does not exist, but another adapter has it; combine them apart"
              .formatted(path));
    }
  }
}
