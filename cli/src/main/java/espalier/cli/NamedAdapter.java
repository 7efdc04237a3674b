package espalier.cli;

import java.nio.file.Path;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * An adapter that was named on the command line.
 *
 * @param name what it is called in this process
 * @param folder where it lies
 */
record NamedAdapter(String name, Path folder) {

  /** Reads {@code NAME=DIR}, or {@code DIR} for one that is called {@code default}. */
  static NamedAdapter parse(String text) {
    int equals = text.indexOf('=');
    NamedAdapter adapter =
        equals < 0
            ? new NamedAdapter("default", Path.of(text))
            : new NamedAdapter(text.substring(0, equals), Path.of(text.substring(equals + 1)));
    if (adapter.name().isBlank() || adapter.folder().toString().isBlank()) {
      throw new TypeConversionException(
          "'%s' does not name an adapter; write NAME=DIR, or DIR alone".formatted(text));
    }
    return adapter;
  }

  /** As picocli wants it. */
  static final class Converter implements ITypeConverter<NamedAdapter> {
    @Override
    public NamedAdapter convert(String value) {
      return parse(value);
    }
  }
}
