package espalier.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The command line that runs a class of these tests, or of the program, in a process of its own.
 */
final class ChildJvm {

  private ChildJvm() {}

  /**
   * The command.
   *
   * @param main the class to run
   * @param arguments what it is given
   * @param options for the virtual machine, beside those that all need
   */
  static List<String> command(Class<?> main, List<String> arguments, String... options) {
    var command = new ArrayList<String>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1"));
    command.addAll(List.of(options));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(arguments);
    return command;
  }
}
