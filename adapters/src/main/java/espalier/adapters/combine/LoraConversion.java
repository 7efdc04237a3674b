package espalier.adapters.combine;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterFormat;
import espalier.adapters.Adapters;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.Modules;
import espalier.adapters.NotFiniteException;
import espalier.adapters.SavedModule;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Makes an adapter of any method that adds something to weights plain LoRA, by the singular value
 * decomposition of what it adds: B = U·Σ and A = Vᵀ of the leading triplets are the best
 * approximation of their rank.
 *
 * <pre>{@code
 * Converted lora = LoraConversion.convert(adapters, "default", new ConversionRank.Energy(0.99));
 * }</pre>
 */
public final class LoraConversion {

  private final Adapters adapters;
  private final String name;
  private final AdapterConfig config;
  private final ConversionRank rank;
  private final boolean biased;

  private LoraConversion(Adapters adapters, String name, ConversionRank rank) {
    this.adapters = adapters;
    this.name = name;
    this.rank = rank;
    config = adapters.config(name);
    biased = config instanceof LoraConfig lora && lora.loraBias();
  }

  /**
   * Converts an adapter of a model; neither is changed. The result is for the base as it was before
   * the adapter's start took something out of it.
   *
   * @throws ConfigException if the rank is more than a layer can have
   * @throws UnsupportedAdapterException if the adapter does more than adding to weights
   * @throws NotFiniteException if an update has entries that are not finite
   */
  public static Converted convert(Adapters adapters, String name, ConversionRank rank) {
    var conversion = new LoraConversion(adapters, name, rank);
    conversion.refuse();
    return conversion.converted();
  }

  private void refuse() {
    if (config.bias() != BiasTraining.NONE) {
      throw unsupported("trains biases of the base", "train one with bias none");
    }
    if (config.tokens() != null) {
      throw unsupported("trains rows of an embedding by themselves", "merge it instead");
    }
    List<String> parameters = config.targets().parameters();
    if (parameters != null && !parameters.isEmpty()) {
      throw unsupported("is on stacked parameters", "merge it instead");
    }
    if (config instanceof LoraConfig lora
        && (lora.variant() instanceof LoraVariant.Kasa || lora.init() instanceof LoraInit.Loftq)) {
      throw unsupported("changes the base when it starts", "merge it instead");
    }
    adapters
        .on(name)
        .forEach(
            (path, adapter) -> {
              String refusal = adapter.conversionRefusal();
              if (refusal != null) {
                throw unsupported("has no update of a weight at " + path, refusal);
              }
            });
  }

  private UnsupportedAdapterException unsupported(String what, String way) {
    return new UnsupportedAdapterException(
        "%s (%s) %s, so it can not be converted to LoRA; %s"
            .formatted(name, config.peftType(), what, way));
  }

  private Converted converted() {
    var tensors = new LinkedHashMap<String, Tensor>();
    var layers = new LinkedHashMap<String, Converted.Fit>();
    var own = new TreeSet<String>();
    adapters
        .on(name)
        .forEach(
            (path, adapter) -> {
              if (!(adapter instanceof SavedModule)) {
                tensors.putAll(Scope.results(() -> layer(path, adapter, layers)));
                String key = AdapterFormat.KEY_PREFIX + path + ".";
                config.format().savedNames(adapter).forEach(each -> own.add(key + each));
                if (adapter.takenOut() != null) {
                  own.add(key + "base_layer.weight"); // a residual, which is not wanted
                }
              }
            });
    adapters
        .state(name)
        .forEach(
            (key, tensor) -> {
              if (!own.contains(key)) {
                tensors.put(key, tensor);
              }
            });
    return new Converted(config(layers), tensors, layers, warnings(layers));
  }

  private Map<String, Tensor> layer(
      String path, Adapter adapter, Map<String, Converted.Fit> layers) {
    try (var _ = new NoGradGuard()) {
      WeightMatrix matrix = WeightMatrix.on(adapter.layer(), path);
      Tensor taken = adapter.takenOut();
      Tensor update = adapter.deltaWeight();
      Tensor delta = matrix.of(taken == null ? update : update.sub(taken));
      // once a layer
      double norm = delta.norm(new Scalar(2)).item_double();
      if (!Double.isFinite(norm)) {
        throw new NotFiniteException(
            "%s: the update of %s has entries that are not finite, so it has no singular values; the adapter diverged or its file is damaged"
                .formatted(path, name));
      }
      Svd svd = cut(delta, path);
      ScalarType dtype = adapter.dtype();
      Tensor a = svd.vt().to(dtype);
      Tensor b = svd.us().to(dtype);
      Tensor missing = delta.sub(b.to(delta).matmul(a.to(delta)));
      double error = norm == 0 ? 0 : missing.norm(new Scalar(2)).item_double() / norm;
      layers.put(path, new Converted.Fit((int) svd.size(), error));
      return matrix.factors(a, b, bias(adapter)).named(path);
    }
  }

  private @Nullable Tensor bias(Adapter adapter) {
    Tensor delta = biased ? adapter.deltaBias() : null;
    return delta == null ? null : delta.to(adapter.dtype());
  }

  private Svd cut(Tensor delta, String path) {
    return switch (rank) {
      case ConversionRank.Fixed(int r) -> {
        long most = Math.min(delta.size(0), delta.size(1));
        if (r > most) {
          throw new ConfigException(
              "rank is %d but %s is [%d, %d], which has %d singular values; choose a rank of %d or less, or a threshold"
                  .formatted(r, path, delta.size(0), delta.size(1), most, most));
        }
        yield Svd.leading(delta, r).first(r);
      }
      case ConversionRank.Energy(double threshold) -> Svd.holding(delta, threshold);
    };
  }

  private LoraConfig config(Map<String, Converted.Fit> layers) {
    int r = rank instanceof ConversionRank.Fixed(int fixed) ? fixed : 1;
    var ranks = new LinkedHashMap<String, Integer>();
    var alphas = new LinkedHashMap<String, Double>();
    layers.forEach(
        (path, fit) -> {
          if (fit.rank() != r) {
            ranks.put(path, fit.rank());
            alphas.put(path, (double) fit.rank());
          }
        });
    return LoraConfig.builder()
        .head(config.head())
        .targets(targets(layers))
        .r(r)
        .alpha(r) // every scaling is in the factors
        .rankPattern(ranks)
        .alphaPattern(alphas)
        .loraBias(biased)
        .build();
  }

  /** The source's own words, and every path beside names, as the reference has it. */
  private Targets targets(Map<String, Converted.Fit> layers) {
    Targets own = config.targets();
    var names = new TreeSet<>(layers.keySet());
    return switch (own.modules()) {
      case Modules.Matching _ -> own;
      case Modules.Named(var given) -> {
        names.addAll(given);
        yield own.withModules(new Modules.Named(List.copyOf(names)));
      }
      case Modules.AllLinear(), Modules.ByArchitecture() ->
          own.withModules(new Modules.Named(List.copyOf(names)));
    };
  }

  private List<String> warnings(Map<String, Converted.Fit> layers) {
    var warnings = new ArrayList<String>();
    if (config instanceof LoraConfig) {
      warnings.add("%s is LoRA already; converting it only changes its rank".formatted(name));
    }
    LargeErrors.among(layers.values().stream().map(Converted.Fit::error).toList())
        .ifPresent(
            large ->
                warnings.add(
                    "LoRA misses more than %s; a higher rank misses less"
                        .formatted(large.text("of the update of " + name))));
    return warnings;
  }
}
