/** What training needs: data, batches, schedules, optimizers, the loop, and the record of a run. */
@org.jspecify.annotations.NullMarked
module espalier.training {
  exports espalier.training;

  requires transitive espalier.nn;
  requires transitive espalier.text;
  requires duckdb.jdbc;
  requires java.desktop;
  requires java.management;
  requires java.sql;
  requires jdk.management;
  requires org.bytedeco.javacpp;
  requires org.bytedeco.pytorch;
  requires org.jspecify;
  requires tools.jackson.databind;
  requires xchart;
}
