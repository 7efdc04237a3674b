package espalier.parity;

import espalier.nn.Layer;

/** A model that is a single layer, called {@code layer}. */
final class Box extends Layer {

  Box(Layer layer) {
    child("layer", layer);
  }

  /** A node that holds one parameter, which is a layer of its own. */
  static final class Holder extends Layer {
    Holder(String name, Layer parameter) {
      child(name, parameter);
    }
  }
}
