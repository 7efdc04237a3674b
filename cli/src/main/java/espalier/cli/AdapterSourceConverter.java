package espalier.cli;

import espalier.checkpoints.AdapterSource;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads where an adapter is from, as picocli wants it. */
final class AdapterSourceConverter implements ITypeConverter<AdapterSource> {

  @Override
  public AdapterSource convert(String value) {
    return parse(value);
  }

  static AdapterSource parse(String value) {
    try {
      return AdapterSource.parse(value);
    } catch (IllegalArgumentException e) {
      throw new TypeConversionException(String.valueOf(e.getMessage()));
    }
  }
}
