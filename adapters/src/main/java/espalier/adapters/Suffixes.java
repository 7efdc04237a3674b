package espalier.adapters;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Shortens a long list of paths to suffixes that name the same layers and no others, so that a file
 * says {@code q_proj} and not the paths of thirty layers.
 */
final class Suffixes {

  /** Lists shorter than this are left as they are, as the reference does. */
  static final int LONG = 20;

  private Suffixes() {}

  /**
   * The shortened list, sorted.
   *
   * @param names names of {@code target_modules}
   * @param all all paths of the model
   */
  static List<String> shortened(List<String> names, Collection<String> all) {
    if (names.size() < LONG) {
      return names;
    }
    Set<String> own = new HashSet<>(names);
    Set<String> taken = new HashSet<>(); // suffixes of layers that are not named
    for (String path : all) {
      boolean named = own.contains(path);
      for (String suffix : of(path)) {
        named = named || own.contains(suffix);
      }
      if (!named) {
        taken.addAll(of(path));
      }
    }
    // by the spelling of the suffixes, so that the result does not depend on the order given
    var bySuffixes = new TreeMap<String, String>();
    names.forEach(name -> bySuffixes.put(String.join("\0", of(name)), name));
    Set<String> chosen = new TreeSet<>();
    for (String name : bySuffixes.values()) {
      if (chosen.stream().anyMatch(c -> name.endsWith("." + c))) {
        continue;
      }
      for (String suffix : of(name)) {
        if (!chosen.contains(suffix) && !taken.contains(suffix)) {
          chosen.add(suffix);
          break;
        }
      }
    }
    return chosen.isEmpty() || chosen.size() >= names.size() ? names : List.copyOf(chosen);
  }

  /** All suffixes of a path on the borders of its names, shortest first. */
  private static List<String> of(String path) {
    var suffixes = new ArrayList<String>();
    for (int dot = path.lastIndexOf('.'); dot >= 0; dot = path.lastIndexOf('.', dot - 1)) {
      suffixes.add(path.substring(dot + 1));
    }
    suffixes.add(path);
    return suffixes;
  }
}
