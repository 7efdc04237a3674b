package espalier.cli;

import espalier.recipes.BaseDtype;
import java.util.Iterator;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import picocli.CommandLine.ITypeConverter;

/** Reads a dtype, or {@code auto} for the one in which this processor reads a model fastest. */
final class AutoDtypeConverter implements ITypeConverter<BaseDtype>, Iterable<String> {

  private static final String AUTO = "auto";

  private final DtypeConverter plain = new DtypeConverter();

  @Override
  public BaseDtype convert(String value) {
    return value.equals(AUTO) ? BaseDtype.faster() : plain.convert(value);
  }

  @Override
  public Iterator<String> iterator() {
    return Stream.concat(Stream.of(AUTO), StreamSupport.stream(plain.spliterator(), false))
        .iterator();
  }
}
