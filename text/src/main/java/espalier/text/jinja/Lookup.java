package espalier.text.jinja;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Fields, methods and elements of values. */
final class Lookup {

  private Lookup() {}

  /** {@code object.name}: a field or method, else the element of that key. */
  static Object attribute(Run run, Object object, String name) {
    Object member = member(object, name);
    if (member != null) {
      return member;
    }
    Object element =
        object instanceof Map<?, ?> dict && !DictMethods.CHANGING.contains(name)
            ? dict.get(name)
            : null;
    return element == null ? missing(object, name) : element;
  }

  /** {@code object[key]}: the element of a key, else the field or method of that name. */
  static Object item(Run run, Object object, Object key) {
    Object element =
        switch (object) {
          case Map<?, ?> dict when Values.canBeKey(key) -> dict.get(Values.key(key));
          case List<?> list -> element(list, key);
          case String text -> character(run, text, key);
          default -> null;
        };
    if (element == null && key instanceof String name) {
      element = member(object, name);
    }
    if (element != null) {
      return element;
    }
    return key instanceof String name
        ? missing(object, name)
        : object instanceof Undefined undefined
            ? fail(undefined)
            : new Undefined(
                "%s object has no element %s"
                    .formatted(Values.typeOf(object), PythonText.repr(run, key)));
  }

  private static @Nullable Object element(List<?> list, Object key) {
    Number number = Values.number(key);
    if (!(number instanceof Long place)) {
      return null;
    }
    long index = place < 0 ? place + list.size() : place;
    return index >= 0 && index < list.size() ? list.get((int) index) : null;
  }

  private static @Nullable Object character(Run run, String text, Object key) {
    Number number = Values.number(key);
    if (!(number instanceof Long place)) {
      return null;
    }
    run.walk(text.length());
    long length = CodePoints.length(text);
    long index = place < 0 ? place + length : place;
    return index >= 0 && index < length
        ? Character.toString(text.codePointAt(CodePoints.unit(text, (int) index)))
        : null;
  }

  private static @Nullable Object member(Object object, String name) {
    return switch (object) {
      case String text -> StringMethods.find(text, name);
      case Map<?, ?> dict -> DictMethods.find(dict, name);
      case Tuple tuple when tuple.element(name) != null -> tuple.element(name);
      case List<?> list -> ListMethods.find(list, name);
      case Namespace namespace -> namespace.fields().get(name);
      case Loop loop -> loop.field(name);
      case Macro macro when name.equals("name") -> macro.name();
      case Cycler cycler -> cycler.field(name);
      case DictType type -> type.field(name);
      default -> null;
    };
  }

  private static Object missing(Object object, String name) {
    return switch (object) {
      case Undefined undefined -> fail(undefined);
      case None _ -> new Undefined("'None' has no attribute '%s'".formatted(name));
      default ->
          new Undefined("'%s object' has no attribute '%s'".formatted(Values.typeOf(object), name));
    };
  }

  private static Object fail(Undefined undefined) {
    throw undefined.error();
  }

  /** Reads {@code a.b.0} of a value, as the filters' attribute arguments do. */
  static Object path(Run run, Object object, Object path) {
    return path(run, object, path, null);
  }

  /** As {@link #path}, with a value that stands in wherever a step finds nothing. */
  static Object path(Run run, Object object, Object path, @Nullable Object otherwise) {
    if (path instanceof Long) {
      return orElse(item(run, object, path), otherwise);
    }
    Object value = object;
    for (String step : PythonText.str(run, path).split("\\.", -1)) {
      boolean index =
          !step.isEmpty() && step.length() < 10 && step.chars().allMatch(Character::isDigit);
      value = orElse(item(run, value, index ? Long.valueOf(step) : step), otherwise);
    }
    return value;
  }

  private static Object orElse(Object found, @Nullable Object otherwise) {
    return found instanceof Undefined && otherwise != null ? otherwise : found;
  }
}
