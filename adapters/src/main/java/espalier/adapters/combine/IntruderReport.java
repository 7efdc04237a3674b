package espalier.adapters.combine;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What was found on each layer.
 *
 * @param intruders how many of the vectors that were looked at are intruders, by path of the layer;
 *     layers that were copied unseen are not among them
 * @param warnings what the user should know, sentences
 */
public record IntruderReport(Map<String, Integer> intruders, List<String> warnings) {

  /** Copies the collections. */
  public IntruderReport {
    intruders = Collections.unmodifiableMap(new LinkedHashMap<>(intruders));
    warnings = List.copyOf(warnings);
  }
}
