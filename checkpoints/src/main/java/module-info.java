/** Files: safetensors, GGUF, adapter folders, and models of the hub or out of a Python package. */
@org.jspecify.annotations.NullMarked
module espalier.checkpoints {
  exports espalier.checkpoints;
  exports espalier.checkpoints.gguf;
  exports espalier.checkpoints.pretrained;

  requires transitive espalier.adapters;
  requires transitive espalier.models;
  requires transitive espalier.nn;
  requires transitive espalier.text;
  requires java.net.http;
  requires tools.jackson.databind;
}
