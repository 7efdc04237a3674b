package espalier.cli;

import espalier.checkpoints.AdapterSource;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * An adapter that was named on the command line.
 *
 * @param name what it is called in this process
 * @param source where it is from
 */
record NamedAdapter(String name, AdapterSource source) {

  /** Reads {@code NAME=ADAPTER}, or {@code ADAPTER} for one that is called {@code default}. */
  static NamedAdapter parse(String text) {
    int equals = text.indexOf('=');
    String name = equals < 0 ? "default" : text.substring(0, equals);
    String source = text.substring(equals + 1);
    if (name.isBlank() || source.isBlank()) {
      throw new TypeConversionException(
          "'%s' does not name an adapter; write NAME=DIR, or DIR alone".formatted(text));
    }
    return new NamedAdapter(name, AdapterSourceConverter.parse(source));
  }

  /** As picocli wants it. */
  static final class Converter implements ITypeConverter<NamedAdapter> {
    @Override
    public NamedAdapter convert(String value) {
      return parse(value);
    }
  }
}
