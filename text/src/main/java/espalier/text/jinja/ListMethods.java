package espalier.text.jinja;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The methods of a list that do not change it. */
final class ListMethods {

  private ListMethods() {}

  static @Nullable Callable find(List<?> list, String name) {
    if (name.equals("copy") && (list instanceof Tuple || list instanceof Range)) {
      return null;
    }
    return switch (name) {
      case "count" ->
          (run, arguments) -> {
            Object wanted = arguments.bind("count", "value").get(0);
            return list.stream().filter(value -> Values.equal(run, value, wanted)).count();
          };
      case "index" ->
          (run, arguments) -> {
            Object wanted = arguments.bind("index", "value").get(0);
            for (int i = 0; i < list.size(); i++) {
              if (Values.equal(run, list.get(i), wanted)) {
                return (long) i;
              }
            }
            throw new JinjaException("%s is not in list".formatted(PythonText.repr(run, wanted)));
          };
      case "copy" ->
          (_, arguments) -> {
            arguments.bind("copy");
            return list; // nothing can change it
          };
      default -> null;
    };
  }
}
