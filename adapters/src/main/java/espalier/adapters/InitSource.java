package espalier.adapters;

import espalier.nn.Init;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** Where the first values of the adapter on each layer are drawn from. */
@FunctionalInterface
public interface InitSource {

  /**
   * What the names of {@linkplain Init#prepared prepared values} begin with that are an adapter's
   * first values as they were saved beside it; the name in its state follows.
   */
  String INITIAL = "initial.";

  /** The stream for one adapter on one layer. */
  Init of(String adapter, String path);

  /** A stream of its own for each adapter and layer, derived from a seed: the normal case. */
  static InitSource seeded(long seed) {
    return (adapter, path) -> Init.stream(seed, adapter, path);
  }

  /** One stream for all layers in their order, which gives the reference's numbers for a seed. */
  static InitSource shared(long seed) {
    Init one = Init.shared(seed);
    return (_, _) -> one;
  }

  /**
   * The same, and beside it what was computed from data for some layers.
   *
   * @param prepared values by the path of their layer and a name that the method knows
   */
  default InitSource withPrepared(Map<String, Map<String, Tensor>> prepared) {
    return (adapter, path) -> of(adapter, path).withPrepared(prepared.getOrDefault(path, Map.of()));
  }

  /**
   * The same, and beside it an adapter's first values as they were saved with it.
   *
   * @param initial values by their key in the adapter's file
   */
  default InitSource withInitial(Map<String, Tensor> initial) {
    return (adapter, path) -> {
      var ofLayer = new HashMap<String, Tensor>();
      initial.forEach(
          (key, value) -> {
            String bare =
                key.startsWith(AdapterFormat.KEY_PREFIX)
                    ? key.substring(AdapterFormat.KEY_PREFIX.length())
                    : key;
            if (bare.startsWith(path + ".")) {
              ofLayer.put(INITIAL + bare.substring(path.length() + 1), value);
            }
          });
      return of(adapter, path).withPrepared(ofLayer);
    };
  }

  /** No draws: all is zero, to be filled from a file. */
  static InitSource blank() {
    return (_, _) -> Init.blank();
  }
}
