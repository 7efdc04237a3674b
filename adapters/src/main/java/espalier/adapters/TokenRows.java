package espalier.adapters;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Rows of an embedding that are trained by themselves: {@code trainable_token_indices}. */
public sealed interface TokenRows {

  /** Rows of the model's input embedding. */
  record OfInput(List<Integer> tokens) implements TokenRows {
    /** Copies the list. */
    public OfInput {
      tokens = List.copyOf(tokens);
    }
  }

  /** Rows of named layers. */
  record OfLayers(Map<String, List<Integer>> tokens) implements TokenRows {
    /** Copies the map in its order. */
    public OfLayers {
      tokens = Collections.unmodifiableMap(new LinkedHashMap<>(tokens));
    }
  }
}
