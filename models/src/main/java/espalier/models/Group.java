package espalier.models;

import espalier.nn.Layer;

/** A node that only holds others, such as {@code self_attn}. What it computes is told elsewhere. */
final class Group extends Layer {

  private final String typeName;

  Group(String typeName) {
    this.typeName = typeName;
  }

  @Override
  public String typeName() {
    return typeName;
  }

  void hang(String name, Layer layer) {
    child(name, layer);
  }

  void takeOff(String name) {
    removeChild(name);
  }
}
