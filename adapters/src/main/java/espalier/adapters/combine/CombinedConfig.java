package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import espalier.adapters.Modules;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The config of a combination: the first source's, where the rank and the targets are its own. */
final class CombinedConfig {

  private CombinedConfig() {}

  /**
   * The config.
   *
   * @param sources the configs of the sources
   * @param paths all layers that some source adapts
   * @param bias whether some source has a bias of its own
   * @param tied whether layers that share a weight share their factors
   */
  static LoraConfig of(
      List<LoraConfig> sources,
      CombinationRank rank,
      Collection<String> paths,
      boolean bias,
      boolean tied) {
    LoraConfig first = sources.getFirst();
    return first.toBuilder()
        .targets(targets(sources.stream().map(LoraConfig::targets).toList(), paths))
        .r(rank.value())
        .alpha(rank.value()) // the scalings of the sources are in the factors
        .rankPattern(Map.of())
        .alphaPattern(Map.of())
        .rslora(false)
        .init(new LoraInit.Uniform())
        .variant(new LoraVariant.Plain())
        .loraBias(bias)
        .ensureWeightTying(tied)
        .build();
  }

  private static Targets targets(List<Targets> sources, Collection<String> paths) {
    Targets first = sources.getFirst();
    boolean fanInFanOut = sources.stream().anyMatch(Targets::fanInFanOut);
    Targets joined = first.withSaved(saved(sources)).withFanInFanOut(fanInFanOut);
    Modules modules = modules(sources.stream().map(Targets::modules).toList());
    boolean alike =
        same(sources, Targets::exclude)
            && same(sources, Targets::layers)
            && same(sources, Targets::layersPattern);
    return modules != null && alike
        ? joined.withModules(modules)
        : joined
            .withExclude(null)
            .withLayers(null, null)
            .withModules(new Modules.Named(List.copyOf(paths)));
  }

  private static boolean same(List<Targets> sources, Function<Targets, @Nullable Object> field) {
    return sources.stream()
        .allMatch(t -> Objects.equals(field.apply(t), field.apply(sources.getFirst())));
  }

  private static @Nullable Modules modules(List<Modules> sources) {
    if (sources.stream().allMatch(Modules.Named.class::isInstance)) {
      var names = new TreeSet<String>();
      sources.forEach(source -> names.addAll(((Modules.Named) source).names()));
      return new Modules.Named(List.copyOf(names));
    }
    if (sources.stream().allMatch(Modules.Matching.class::isInstance)) {
      return new Modules.Matching(
          sources.stream()
              .map(source -> "(" + ((Modules.Matching) source).regex() + ")")
              .collect(Collectors.joining("|")));
    }
    boolean list = sources.stream().anyMatch(Modules.Named.class::isInstance);
    boolean regex = sources.stream().anyMatch(Modules.Matching.class::isInstance);
    if (list && regex) {
      throw new ConfigException(
          "target_modules is a list in some of the adapters and a regular expression in others;"
              + " write the same kind into their configs");
    }
    return sources.stream().distinct().count() == 1 ? sources.getFirst() : null;
  }

  private static @Nullable List<String> saved(List<Targets> sources) {
    var names = new TreeSet<String>();
    sources.forEach(t -> names.addAll(Objects.requireNonNullElse(t.saved(), List.of())));
    return names.isEmpty() ? sources.getFirst().saved() : List.copyOf(names);
  }

  /** The largest rank of a source: what a tensor for all its layers needs. */
  static int largestRank(LoraConfig config) {
    PathMap<Integer> pattern = config.rankPattern();
    return pattern.entries().values().stream().reduce(config.r(), Math::max);
  }
}
