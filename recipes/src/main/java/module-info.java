/** Recipes: a file that says what to train, and the run that does it. */
@org.jspecify.annotations.NullMarked
module espalier.recipes {
  exports espalier.recipes;

  requires transitive espalier.checkpoints;
  requires transitive espalier.serving;
  requires transitive espalier.training;
  requires com.fasterxml.classmate;
  requires com.github.victools.jsonschema.generator;
  requires com.networknt.schema;
  requires org.bytedeco.javacpp;
  requires org.bytedeco.pytorch;
  requires org.jspecify;
  requires tools.jackson.databind;
  requires tools.jackson.dataformat.yaml;

  opens espalier.recipes to
      tools.jackson.databind;
}
