package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Finds the layers that a config means. */
final class TargetResolver {

  private static final Pattern FIRST_NUMBER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\.");

  private final Map<String, Layer> layers = new LinkedHashMap<>(); // without stacked parameters
  private final Map<String, Layer> stacked = new LinkedHashMap<>();
  private final ModelFacts facts;
  private final AdapterConfig config;
  private final Targets targets;
  private List<String> saved; // names, with those of the task
  private final Tying tying;
  private Set<String> following = Set.of(); // those that are trained whole with another
  private final List<String> unused = new ArrayList<>();
  private final List<String> warnings = new ArrayList<>();

  TargetResolver(Layer model, ModelFacts facts, AdapterConfig config) {
    model
        .layers()
        .forEach((path, l) -> (l instanceof ExpertWeight ? stacked : layers).put(path, l));
    this.facts = facts;
    this.config = config;
    targets = config.targets();
    var names = new LinkedHashSet<String>();
    names.addAll(Objects.requireNonNullElse(targets.saved(), List.of()));
    TaskType task = config.head().taskType();
    if (task != null) {
      names.addAll(task.heads());
      task.rareHeads().stream()
          .filter(head -> layers.keySet().stream().anyMatch(p -> Modules.endsWith(p, head)))
          .forEach(names::add);
    }
    saved = List.copyOf(names);
    tying = new Tying(layers, facts.tied(), config.ensureWeightTying());
  }

  Resolution resolve() {
    Tying.Choice choice = tying.saved(saved, saved());
    List<String> whole = choice.paths();
    saved = choice.names();
    following = Set.copyOf(tying.leaders().keySet());
    TaskType task = config.head().taskType();
    Modules named = new ConcreteModules(layers, facts, targets, task).concrete();
    List<String> wanted = layers.keySet().stream().filter(p -> chooses(named, p)).toList();
    var tied =
        tying.targets(named, wanted.stream().filter(p -> !excluded(p)).toList(), this::excluded);
    Modules chosen = tied.getKey();
    List<String> modules = withPartners(tied.getValue());
    List<String> parameters =
        ParameterTargets.find(
            Objects.requireNonNullElse(targets.parameters(), List.of()), layers, stacked);
    if (modules.isEmpty() && parameters.isEmpty()) {
      throw nothing(chosen, wanted);
    }
    for (String path : parameters) {
      if (modules.contains(path)) {
        throw new UnsupportedAdapterException(
            "%s is named by target_modules and its weight by target_parameters; leave one of the two out"
                .formatted(path));
      }
    }
    warnAboutUnused(chosen, modules, parameters);
    Map<String, List<Integer>> tokens =
        new TokenTargets(layers, tying, this::nearest).of(config.tokens(), facts.inputEmbedding());
    requireApart(tokens.keySet(), whole, modules);
    warnings.addAll(tying.warnings());
    boolean transposed =
        modules.stream()
            .anyMatch(p -> layers.get(p) instanceof Linear linear && linear.transposed());
    List<String> names = targets.saved() == null && saved.isEmpty() ? null : saved;
    return new Resolution(
        targets.withModules(chosen).withSaved(names).withFanInFanOut(transposed),
        modules,
        parameters,
        whole,
        tokens,
        tying.leaders(),
        unused,
        warnings);
  }

  /** The layers to be trained whole; an entry of the config's own that matches none is told. */
  private List<String> saved() {
    var asked = new LinkedHashSet<>(Objects.requireNonNullElse(targets.saved(), List.of()));
    TaskType task = config.head().taskType();
    if (task != null) {
      asked.removeAll(task.heads());
      asked.removeAll(task.rareHeads());
    }
    var found = new SavedTargets(layers, stacked, asked);
    List<String> paths = found.find(saved);
    for (String name : found.unmatched()) {
      unused.add(name);
      warnings.add(
          "modules_to_save has %s, which matches no layer; %s".formatted(name, nearest(name)));
    }
    return paths;
  }

  private List<String> withPartners(List<String> paths) {
    var all = new LinkedHashSet<String>();
    for (String path : paths) {
      all.add(path);
      if (layers.get(path) instanceof Adaptable layer) {
        layer.partners().forEach(partner -> all.add(Layer.join(path, partner)));
      }
    }
    return List.copyOf(all);
  }

  private static void requireApart(
      Collection<String> tokens, Collection<String> whole, Collection<String> modules) {
    for (String path : tokens) {
      if (whole.contains(path)) {
        throw new ConfigException(
            "%s is in modules_to_save and in trainable_token_indices; train the whole layer or some of its rows"
                .formatted(path));
      }
      if (modules.contains(path)) {
        throw new ConfigException(
            "%s is in target_modules and in trainable_token_indices; adapt the layer or train some of its rows"
                .formatted(path));
      }
    }
  }

  // ---- which layers

  private boolean chooses(Modules modules, String path) {
    return switch (modules) {
      case Modules.Matching matching -> matching.matches(path, "target_modules");
      case Modules.Named named ->
          named.names().contains(path) || (named.matches(path) && inChosenBlock(path));
      case Modules.AllLinear(), Modules.ByArchitecture() -> false; // made concrete before
    };
  }

  private boolean inChosenBlock(String path) {
    OneOrMany<Integer> blocks = targets.layers();
    if (blocks == null || blocks.isEmpty()) {
      return true;
    }
    Integer index = block(path);
    return index != null && blocks.values().contains(index);
  }

  private @Nullable Integer block(String path) {
    OneOrMany<String> names = targets.layersPattern();
    List<Pattern> patterns =
        names == null || names.isEmpty()
            ? List.of(FIRST_NUMBER)
            : names.values().stream()
                .map(
                    n -> PythonRegex.compile("(?:.*?\\.|^)" + n + "\\.(\\d+)\\.", "layers_pattern"))
                .toList();
    for (Pattern pattern : patterns) {
      Matcher matcher = pattern.matcher(path);
      if (matcher.lookingAt()) {
        return Integer.valueOf(matcher.group(matcher.groupCount()));
      }
    }
    return null;
  }

  private boolean excluded(String path) {
    return excludedByName(path) || belowSaved(path) || following.contains(path);
  }

  private boolean excludedByName(String path) {
    return switch (targets.exclude()) {
      case Modules.Named n -> n.matches(path);
      case Modules.Matching m -> m.matches(path, "exclude_modules");
      case null, default -> false;
    };
  }

  private boolean belowSaved(String path) {
    for (int end = path.length(); end > 0; end = path.lastIndexOf('.', end - 1)) {
      String above = path.substring(0, end);
      if (saved.stream().anyMatch(name -> Modules.endsWith(above, name))) {
        return true;
      }
    }
    return false;
  }

  // ---- what to tell

  private TargetException nothing(Modules chosen, List<String> wanted) {
    String shown = Targets.show(chosen);
    if (chosen instanceof Modules.Named(var names)
        && names.isEmpty()
        && targets.parameters() == null) {
      return new TargetException(
          "neither target_modules nor target_parameters names anything; name layers, such as"
              + " all-linear");
    }
    if (chosen instanceof Modules.Named(var names) && names.isEmpty()) {
      return new TargetException(
          "target_parameters %s matches no stacked parameter; the model has %s"
              .formatted(targets.parameters(), stacked.keySet()));
    }
    if (!wanted.isEmpty()) {
      List<String> unmatched = unmatched(chosen);
      String rest =
          unmatched.isEmpty()
              ? ""
              : " and %s matches no layer, %s".formatted(unmatched, nearest(unmatched.getFirst()));
      return new TargetException(
          "all %d layers that target_modules %s names are excluded by exclude_modules %s or are in modules_to_save %s%s; exclude less"
              .formatted(wanted.size(), shown, Targets.show(targets.exclude()), saved, rest));
    }
    String entry = chosen instanceof Modules.Named(var names) ? names.getFirst() : "";
    String hint =
        chosen instanceof Modules.Matching
            ? "a regular expression must match the whole path, such as " + example()
            : nearest(entry);
    String blocks =
        targets.layers() == null
            ? ""
            : "; layers_to_transform %s%s limits the layers"
                .formatted(
                    targets.layers().values(),
                    targets.layersPattern() == null
                        ? ""
                        : " with layers_pattern " + targets.layersPattern().values());
    return new TargetException(
        "target_modules %s matches no layer; %s%s".formatted(shown, hint, blocks));
  }

  private String nearest(String name) {
    return Nearest.layer(
        name, layers.keySet().stream().filter(p -> layers.get(p) instanceof Adaptable).toList());
  }

  private String example() {
    return layers.entrySet().stream()
        .filter(e -> e.getValue() instanceof Linear)
        .map(Map.Entry::getKey)
        .findFirst()
        .orElse("layers.0.proj");
  }

  private List<String> unmatched(Modules chosen) {
    return chosen instanceof Modules.Named(var names)
        ? names.stream()
            .filter(name -> layers.keySet().stream().noneMatch(p -> Modules.endsWith(p, name)))
            .toList()
        : List.of();
  }

  private void warnAboutUnused(Modules chosen, List<String> modules, List<String> parameters) {
    List<String> unmatched = unmatched(chosen);
    if (!unmatched.isEmpty()) {
      unused.addAll(unmatched);
      warnings.add(
          "target_modules %s matches no layer; %s"
              .formatted(unmatched, nearest(unmatched.getFirst())));
    }
    if (targets.exclude() != null && layers.keySet().stream().noneMatch(this::excludedByName)) {
      warnings.add(
          "exclude_modules %s excludes nothing".formatted(Targets.show(targets.exclude())));
    }
    if (modules.isEmpty() && !(chosen instanceof Modules.Named(var names) && names.isEmpty())) {
      warnings.add("target_modules names no layer; only target_parameters are adapted");
    }
    List<String> asked = targets.parameters();
    if (asked != null && !asked.isEmpty() && parameters.isEmpty()) {
      warnings.add(
          "target_parameters %s matches no stacked parameter; only target_modules are adapted"
              .formatted(asked));
    }
    config
        .patterns()
        .forEach(
            (field, pattern) -> {
              List<String> keys =
                  pattern.entries().keySet().stream()
                      .filter(
                          key ->
                              Stream.concat(modules.stream(), parameters.stream())
                                  .noneMatch(path -> PathMap.hits(key, path)))
                      .sorted()
                      .toList();
              if (!keys.isEmpty()) {
                warnings.add("%s has %s, which hits no targeted layer".formatted(field, keys));
              }
            });
  }
}
