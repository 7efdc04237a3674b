package espalier.cli;

import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Option;

/** What the command line says otherwise than a recipe. */
final class Overrides {

  @Option(
      names = "--set",
      paramLabel = "PATH=VALUE",
      description =
          "Overrides a key of a recipe, such as adapter.r=8 or training.steps=20; may be given"
              + " again")
  private List<String> values = new ArrayList<>();

  List<String> values() {
    return values;
  }
}
