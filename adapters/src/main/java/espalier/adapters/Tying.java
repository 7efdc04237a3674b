package espalier.adapters;

import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;

/**
 * Which layers that share one weight share what is trained on it. The first of a group is its
 * source, such as the token embedding; the others follow it.
 */
final class Tying {

  private final Map<String, Layer> layers;
  private final List<List<String>> groups;
  private final boolean ensured;
  private final Map<String, String> leaders = new LinkedHashMap<>(); // by follower
  private final Set<List<String>> apart = new LinkedHashSet<>();
  private final Map<String, String> apartFrom = new LinkedHashMap<>(); // by follower

  /**
   * Knows of no tie yet.
   *
   * @param layers all layers of the model by path
   * @param ensured whether the config asks that tied layers are trained as one
   */
  Tying(Map<String, Layer> layers, List<List<String>> tied, boolean ensured) {
    this.layers = layers;
    this.ensured = ensured;
    groups =
        tied.stream()
            .map(group -> group.stream().filter(layers::containsKey).toList())
            .filter(group -> group.size() > 1)
            .toList();
  }

  /** For each layer that follows another the path of that one. */
  Map<String, String> leaders() {
    return leaders;
  }

  List<List<String>> groups() {
    return groups;
  }

  boolean ensured() {
    return ensured;
  }

  void follow(List<String> group) {
    group.stream().skip(1).forEach(path -> leaders.put(path, group.getFirst()));
  }

  /** Says that rows of these followers alone are trained, and not those of their source. */
  void rowsApart(List<String> followers, String source) {
    followers.forEach(path -> apartFrom.put(path, source));
  }

  /** Names of {@code modules_to_save} and what they mean, with the ties kept. */
  record Choice(List<String> names, List<String> paths) {}

  /** Layers that are trained whole: if one of a group is, all of it is, with one copy. */
  Choice saved(List<String> names, List<String> paths) {
    var choice = new Choice(names, paths);
    for (List<String> group : groups) {
      if (group.stream().noneMatch(paths::contains)) {
        continue;
      }
      if (ensured) {
        choice = new Choice(named(choice.names(), group), together(choice.paths(), group));
        follow(group);
      } else {
        apart.add(group);
      }
    }
    return choice;
  }

  /**
   * Layers that get a branch: if one of a group does, all of it does, with one pair of factors.
   *
   * @param modules the names as the config has them, made concrete
   * @param paths the layers that they mean, without those that are excluded
   * @param excluded whether the config excludes a layer
   * @return the names as they go into the file, and the layers
   */
  Map.Entry<Modules, List<String>> targets(
      Modules modules, List<String> paths, Predicate<String> excluded) {
    Modules names = modules;
    List<String> all = paths;
    for (List<String> group : groups) {
      if (leaders.containsValue(group.getFirst()) || group.stream().noneMatch(paths::contains)) {
        continue;
      }
      if (!ensured) {
        apart.add(group);
        continue;
      }
      group.stream()
          .filter(excluded)
          .findFirst()
          .ifPresent(
              path -> {
                throw new ConfigException(
                    "ensure_weight_tying adapts all of %s, but exclude_modules has %s; exclude all of them or none"
                        .formatted(group, path));
              });
      names =
          switch (names) {
            case Modules.Named(var texts) -> new Modules.Named(named(texts, group));
            case Modules.Matching(var regex) -> new Modules.Matching(or(regex, group.getFirst()));
            case Modules.AllLinear(), Modules.ByArchitecture() -> names;
          };
      all = together(all, group);
      follow(group);
    }
    return Map.entry(names, all);
  }

  private static String or(String regex, String path) {
    String end = "|^" + path.replace(".", "\\.") + "$)";
    return regex.endsWith(end) ? regex : "(?:" + regex + end;
  }

  /** The source by its full path, and no name that only means followers. */
  private List<String> named(List<String> names, List<String> group) {
    var kept = new ArrayList<String>();
    for (String name : names) {
      List<String> meant =
          layers.keySet().stream().filter(path -> Modules.endsWith(path, name)).toList();
      if (meant.isEmpty() || !group.subList(1, group.size()).containsAll(meant)) {
        kept.add(name);
      }
    }
    if (!kept.contains(group.getFirst())) {
      kept.add(group.getFirst());
    }
    return kept;
  }

  // the others as they were, then the source, then those that follow it
  private static List<String> together(List<String> paths, List<String> group) {
    var all = new LinkedHashSet<>(paths);
    all.removeAll(group.subList(1, group.size()));
    all.addAll(group);
    return List.copyOf(all);
  }

  /** What the user should know, sentences. */
  List<String> warnings() {
    var warnings = new ArrayList<String>();
    for (List<String> group : apart) {
      warnings.add(
          "%s share one weight; what is trained on one of them does not act on the others unless ensure_weight_tying is set"
              .formatted(group));
    }
    if (ensured && groups.isEmpty()) {
      warnings.add("ensure_weight_tying is set but no layers of this model share a weight");
    } else if (ensured) {
      apartFrom.forEach(
          (follower, source) ->
              warnings.add(
                  "ensure_weight_tying is set but of %s and %s, which share one weight, only rows of the former are trained; name %s in trainable_token_indices to train them as one"
                      .formatted(follower, source, source)));
    }
    if (ensured && !groups.isEmpty() && leaders.isEmpty() && apartFrom.isEmpty()) {
      warnings.add(
          "ensure_weight_tying is set but none of %s is trained, so there is nothing to tie"
              .formatted(groups));
    }
    return warnings;
  }
}
