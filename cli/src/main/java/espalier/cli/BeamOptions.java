package espalier.cli;

import espalier.serving.Beams;
import espalier.serving.EarlyStopping;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** How an answer that is likely as a whole is searched, by the names that users know. */
final class BeamOptions {

  @Option(
      names = {"--beams", "--num-beams"},
      paramLabel = "N",
      defaultValue = "1",
      description =
          "Search along N beams for the answer that is most likely as a whole; nothing is shown"
              + " before its end (default ${DEFAULT-VALUE}, no search)")
  private int number = 1;

  @Option(
      names = "--length-penalty",
      paramLabel = "X",
      description = "Of the beams: more than 0 favours long answers, less short ones (default 1)")
  private @Nullable Double lengthPenalty;

  @Option(
      names = "--early-stopping",
      converter = EarlyStoppingConverter.class,
      paramLabel = "WHEN",
      description =
          "When the search ends once there are as many answers as beams: false, where a better one"
              + " is unlikely; true, at once; never, where none can be better (default false)")
  private @Nullable EarlyStopping earlyStopping;

  /**
   * The settings that the options say, or null for no search.
   *
   * @throws IllegalArgumentException if there is one for beams, but no beams
   */
  @Nullable Beams beams() {
    if (number == 1) {
      if (lengthPenalty != null || earlyStopping != null) {
        throw new IllegalArgumentException(
            "--%s was given but is for a search along beams; add --beams 4, or leave it out"
                .formatted(lengthPenalty != null ? "length-penalty" : "early-stopping"));
      }
      return null;
    }
    return new Beams(
        number,
        lengthPenalty == null ? 1 : lengthPenalty,
        earlyStopping == null ? EarlyStopping.FALSE : earlyStopping);
  }

  /** The words of the Python reference. */
  static final class EarlyStoppingConverter implements ITypeConverter<EarlyStopping> {
    @Override
    public EarlyStopping convert(String value) {
      try {
        return EarlyStopping.valueOf(value.toUpperCase(Locale.ROOT));
      } catch (IllegalArgumentException _) {
        throw new TypeConversionException(
            "'%s' is not known; write false, true or never".formatted(value));
      }
    }
  }
}
