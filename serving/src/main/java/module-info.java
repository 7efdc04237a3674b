/** Text generation: mixed batches over a key-value cache, sampling, conversations. */
@org.jspecify.annotations.NullMarked
module espalier.serving {
  exports espalier.serving;

  requires transitive espalier.checkpoints;
  requires transitive espalier.models;
  requires transitive espalier.nn;
  requires transitive espalier.text;
}
