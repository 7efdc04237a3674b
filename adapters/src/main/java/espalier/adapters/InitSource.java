package espalier.adapters;

import espalier.nn.Init;

/** Where the first values of the adapter on each layer are drawn from. */
@FunctionalInterface
public interface InitSource {

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

  /** No draws: all is zero, to be filled from a file. */
  static InitSource blank() {
    return (_, _) -> Init.blank();
  }
}
