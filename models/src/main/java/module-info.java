/** Model families as data. Read {@link espalier.models.Families} first. */
@org.jspecify.annotations.NullMarked
module espalier.models {
  exports espalier.models;

  requires transitive espalier.nn;
  requires static transitive org.jspecify;
  requires tools.jackson.databind;
}
