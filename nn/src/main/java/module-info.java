/** Layers with adapter slots over libtorch. Read {@link espalier.nn.Adaptable} first. */
@org.jspecify.annotations.NullMarked
module espalier.nn {
  exports espalier.nn;
  exports espalier.nn.parallel;

  requires jdk.management;
  requires transitive org.bytedeco.javacpp;
  requires transitive org.bytedeco.pytorch;
  requires static transitive org.jspecify;
}
