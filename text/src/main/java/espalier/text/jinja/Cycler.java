package espalier.text.jinja;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** Goes round a list of values, one a call. */
final class Cycler {

  private final List<Object> values;
  private int place;

  Cycler(List<Object> values) {
    if (values.isEmpty()) {
      throw new JinjaException("cycler() expects at least one value");
    }
    this.values = values;
  }

  @Nullable Object field(String name) {
    return switch (name) {
      case "current" -> values.get(place);
      case "next" ->
          (Callable)
              (_, _) -> {
                Object value = values.get(place);
                place = (place + 1) % values.size();
                return value;
              };
      case "reset" ->
          (Callable)
              (_, _) -> {
                place = 0;
                return None.NONE;
              };
      default -> null;
    };
  }
}
