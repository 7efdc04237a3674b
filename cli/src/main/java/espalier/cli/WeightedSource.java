package espalier.cli;

import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.FolderCombination;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * An adapter that was named on the command line with how much of it is wanted.
 *
 * @param name what it is called in this process
 * @param source where it is from
 * @param weight factor on its update
 */
record WeightedSource(String name, AdapterSource source, double weight) {

  /** Reads {@code NAME=ADAPTER:WEIGHT}; without a name it is the folder's, without a weight 1. */
  static WeightedSource parse(String text) {
    int equals = text.indexOf('=');
    String place = text.substring(equals + 1);
    double weight = 1;
    int colon = place.lastIndexOf(':');
    if (colon >= 0 && isNumber(place.substring(colon + 1))) {
      weight = Double.parseDouble(place.substring(colon + 1));
      place = place.substring(0, colon);
    } else if (colon >= 0 && isFolder(place.substring(0, colon)) && !isFolder(place)) {
      throw new TypeConversionException(
          "'%s' has the weight %s, which is no number; write NAME=DIR:WEIGHT, such as law=runs/law:0.7"
              .formatted(text, place.substring(colon + 1)));
    }
    if (text.startsWith("=") || place.isBlank()) {
      throw new TypeConversionException(
          "'%s' does not name an adapter; write NAME=DIR:WEIGHT, such as law=runs/law:0.7"
              .formatted(text));
    }
    AdapterSource source = AdapterSourceConverter.parse(place);
    String name = equals < 0 ? source.name() : text.substring(0, equals);
    return new WeightedSource(name, source, weight);
  }

  /** The adapter in its folder, fetched if need be. */
  FolderCombination.Source fetched(Consumer<String> progressLine) {
    return new FolderCombination.Source(name, source.resolve(progressLine), weight);
  }

  private static boolean isFolder(String path) {
    return !path.isEmpty() && Files.isDirectory(Path.of(path));
  }

  private static boolean isNumber(String text) {
    return text.matches("[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?");
  }

  /** As picocli wants it. */
  static final class Converter implements ITypeConverter<WeightedSource> {
    @Override
    public WeightedSource convert(String value) {
      return parse(value);
    }
  }
}
