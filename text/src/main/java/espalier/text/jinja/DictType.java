package espalier.text.jinja;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The function {@code dict}, which has {@code dict.fromkeys} beside. */
final class DictType implements Callable {

  @Override
  public Object call(Run run, Arguments arguments) {
    return Globals.entries(run, "dict", arguments);
  }

  @Nullable Object field(String name) {
    return name.equals("fromkeys") ? (Callable) DictType::ofKeys : null;
  }

  private static Object ofKeys(Run run, Arguments arguments) {
    var bound = arguments.bind("fromkeys", "iterable", "value?");
    List<Object> keys = Values.iterate(run, bound.get(0));
    run.list(2L * keys.size());
    Map<Object, Object> dict = new LinkedHashMap<>();
    for (Object key : keys) {
      dict.put(Values.key(key), bound.get(1, None.NONE));
    }
    return dict;
  }
}
