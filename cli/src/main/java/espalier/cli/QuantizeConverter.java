package espalier.cli;

import espalier.recipes.Quantize;
import espalier.recipes.RecipeException;
import java.util.Iterator;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads the form in which a model's weights are held. */
final class QuantizeConverter implements ITypeConverter<Quantize>, Iterable<String> {

  @Override
  public Quantize convert(String value) {
    try {
      return Quantize.of(value);
    } catch (RecipeException e) {
      throw new TypeConversionException(e.getMessage());
    }
  }

  @Override
  public Iterator<String> iterator() {
    return Quantize.keys().iterator();
  }
}
