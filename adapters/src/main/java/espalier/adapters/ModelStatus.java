package espalier.adapters;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a model stands. Where layers disagree, the value is null.
 *
 * @param baseType what kind of model the base is
 * @param peftTypes the method of each adapter
 * @param trainable parameters that are trained
 * @param total all parameters, each counted once
 * @param layers number of layers with adapters
 * @param enabled whether adapters are not disabled
 * @param active names of the active adapters
 * @param merged names of the merged adapters
 * @param available names of all adapters, sorted
 * @param gradients whether the tensors of each adapter collect gradients
 */
public record ModelStatus(
    String baseType,
    Map<String, String> peftTypes,
    long trainable,
    long total,
    int layers,
    @Nullable Boolean enabled,
    @Nullable List<String> active,
    @Nullable List<String> merged,
    List<String> available,
    Map<String, LayerStatus.Gradients> gradients) {}
