package espalier.text.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The methods of a dict that do not change it. */
final class DictMethods {

  /** Methods that would change it: their names give nothing, be there an element of the name. */
  static final Set<String> CHANGING = Set.of("clear", "pop", "popitem", "setdefault", "update");

  private DictMethods() {}

  static @Nullable Callable find(Map<?, ?> dict, String name) {
    return switch (name) {
      case "items" ->
          (run, arguments) -> {
            arguments.bind("items");
            return new View("dict_items", items(run, dict));
          };
      case "keys" ->
          (run, arguments) -> {
            arguments.bind("keys");
            return new View("dict_keys", Values.iterate(run, dict));
          };
      case "values" ->
          (run, arguments) -> {
            arguments.bind("values");
            run.list(dict.size());
            return new View("dict_values", new ArrayList<>(dict.values()));
          };
      case "get" ->
          (_, arguments) -> {
            var bound = arguments.bind("get", "key", "default?");
            Object value = dict.get(Values.key(bound.get(0)));
            return value == null ? bound.get(1, None.NONE) : value;
          };
      case "copy" ->
          (_, arguments) -> {
            arguments.bind("copy");
            return dict; // nothing can change it
          };
      default -> null;
    };
  }

  /** The entries as pairs. */
  static List<Object> items(Run run, Map<?, ?> dict) {
    run.list(3L * dict.size());
    List<Object> items = new ArrayList<>(dict.size());
    dict.forEach((key, value) -> items.add(Tuple.of(key, value)));
    return items;
  }
}
