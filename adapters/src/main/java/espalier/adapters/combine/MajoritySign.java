package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import java.util.Arrays;
import java.util.Locale;

/** How the sign of a position is elected. A tie elects plus. */
public enum MajoritySign {
  /** By the sign of the sum. */
  TOTAL,
  /** By the number of sources of each sign. */
  FREQUENCY;

  /** The method of this name: {@code total} or {@code frequency}. */
  public static MajoritySign of(String word) {
    return Arrays.stream(values())
        .filter(method -> method.name().toLowerCase(Locale.ROOT).equals(word))
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "majority_sign_method is %s but total and frequency are known; total is the default"
                        .formatted(word)));
  }
}
