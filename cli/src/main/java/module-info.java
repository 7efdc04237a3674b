/** The command line. */
@org.jspecify.annotations.NullMarked
module espalier.cli {
  requires espalier.recipes;
  requires info.picocli;
  requires java.desktop;
  requires java.logging;
  requires java.management;
  requires jdk.management;
  requires me.tongfei.progressbar;
  requires org.bytedeco.javacpp;
  requires org.bytedeco.pytorch;
  requires org.jline.reader;
  requires org.jline.terminal;
  requires org.jspecify;
  requires tools.jackson.databind;
  requires xchart;

  opens espalier.cli to
      info.picocli;
}
