package espalier.models;

import java.util.Map;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * What all blocks share in one forward.
 *
 * @param sights by window, 0 for none: which keys are seen
 */
record Pass(
    Map<Rope, Rotation> rotations,
    IntFunction<Sight> sights,
    @Nullable KvCache cache,
    StackInputs.@Nullable Memory memory) {

  Rotation rotation(Rope rope) {
    Rotation rotation = rotations.get(rope);
    if (rotation == null) {
      throw new IllegalStateException("no angles were made for " + rope);
    }
    return rotation;
  }

  Sight sight(int window) {
    return sights.apply(window);
  }

  Pass with(StackInputs.Memory other) {
    return new Pass(rotations, sights, cache, other);
  }
}
