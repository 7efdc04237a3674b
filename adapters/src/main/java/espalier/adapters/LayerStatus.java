package espalier.adapters;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How one layer stands.
 *
 * @param path the layer's path
 * @param type what kind of layer it is
 * @param enabled whether adapters are not disabled
 * @param active names of the active adapters, also those that the layer lacks
 * @param merged names of the merged adapters, in merge order
 * @param available names of all adapters on the layer, sorted
 * @param gradients whether the tensors of each adapter collect gradients
 * @param devices the device of each adapter's tensors
 * @param quantisation the form of the base's weight, such as {@code nf4}, or null for plain numbers
 */
public record LayerStatus(
    String path,
    String type,
    boolean enabled,
    List<String> active,
    List<String> merged,
    List<String> available,
    Map<String, Gradients> gradients,
    Map<String, String> devices,
    @Nullable String quantisation) {

  /** Whether the tensors of an adapter collect gradients. */
  public enum Gradients {
    /** All of them. */
    YES,
    /** None. */
    NO,
    /** Some. */
    IRREGULAR
  }
}
