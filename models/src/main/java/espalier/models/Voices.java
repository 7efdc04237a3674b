package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AdapterStack;
import espalier.nn.Rows;
import espalier.nn.TokenIds;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Which adapters act in a forward, and from where on in each row. */
final class Voices {

  /** For each row its adapters, and the tokens that each waits for, empty if it does not wait. */
  private final List<Map<String, Optional<List<Integer>>>> rows;

  private final List<String> merged;

  private Voices(List<Map<String, Optional<List<Integer>>>> rows, List<String> merged) {
    this.rows = rows;
    this.merged = merged;
  }

  /** What would act now on a batch of so many rows. */
  static Voices of(Collection<Adaptable> layers, int batch) {
    @Nullable List<String> names = Rows.ADAPTERS.isBound() ? Rows.ADAPTERS.get() : null;
    var all = new LinkedHashMap<String, Optional<List<Integer>>>();
    Set<String> merged = new LinkedHashSet<>();
    for (Adaptable layer : layers) {
      AdapterStack stack = layer.adapters();
      if (!stack.all().isEmpty()) {
        merged.addAll(stack.merged());
        collect(stack, names == null ? stack.active() : names, all);
      }
    }
    var rows = new ArrayList<Map<String, Optional<List<Integer>>>>();
    for (int row = 0; row < batch; row++) {
      rows.add(names == null || row >= names.size() ? all : only(names.get(row), all));
    }
    return new Voices(rows, List.copyOf(merged));
  }

  private static void collect(
      AdapterStack stack, Collection<String> names, Map<String, Optional<List<Integer>>> all) {
    for (String name : stack.disabled() ? List.<String>of() : names) {
      Adapter adapter = stack.merged().contains(name) ? null : stack.find(name);
      if (adapter != null) {
        // One that waits on some layers and not on others acts everywhere.
        Optional<List<Integer>> waits = Optional.ofNullable(adapter.invocation());
        all.merge(name, waits, (a, b) -> a.isPresent() && b.isPresent() ? a : Optional.empty());
      }
    }
  }

  private static Map<String, Optional<List<Integer>>> only(
      String name, Map<String, Optional<List<Integer>>> all) {
    Optional<List<Integer>> waits = all.get(name);
    return waits == null ? Map.of() : Map.of(name, waits);
  }

  /** Whether some adapter waits for tokens. */
  boolean waiting() {
    return rows.stream().anyMatch(row -> row.values().stream().anyMatch(Optional::isPresent));
  }

  /** Whether what acts on a row depends on the position. */
  boolean waiting(int row) {
    return rows.get(row).values().stream().anyMatch(Optional::isPresent);
  }

  int batch() {
    return rows.size();
  }

  /** What acts at a position of a row, which is counted from its end: 1 is the last. */
  Voice at(int row, long fromEnd, @Nullable TokenIds ids) {
    List<String> acting =
        rows.get(row).entrySet().stream()
            .filter(
                adapter ->
                    adapter
                        .getValue()
                        .map(tokens -> ids != null && ids.acts(tokens, row, fromEnd))
                        .orElse(true))
            .map(Map.Entry::getKey)
            .toList();
    return new Voice(merged, acting);
  }
}
