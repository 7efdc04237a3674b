package espalier.cli;

import espalier.recipes.BaseDtype;
import espalier.recipes.RecipeException;
import java.util.Arrays;
import java.util.Iterator;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads {@code f32}, {@code bf16} and {@code f16}. */
final class DtypeConverter implements ITypeConverter<BaseDtype>, Iterable<String> {

  @Override
  public BaseDtype convert(String value) {
    try {
      return BaseDtype.of(value);
    } catch (RecipeException e) {
      throw new TypeConversionException(e.getMessage());
    }
  }

  @Override
  public Iterator<String> iterator() {
    return Arrays.stream(BaseDtype.values()).map(BaseDtype::key).iterator();
  }
}
