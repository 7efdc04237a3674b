package espalier.cli;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;

/** This program as another process can be started from it. */
final class ThisProgram {

  private ThisProgram() {}

  /** The command that starts this program again, as it was started, with other arguments. */
  static List<String> command(List<String> arguments) {
    String classPath = System.getProperty("java.class.path", "");
    String java = ProcessHandle.current().info().command().orElse("");
    if (classPath.isEmpty() || java.isEmpty()) {
      throw new IllegalStateException(
          "this program can not start itself again: its java or its class path is not known; start"
              + " it on the class path, as bin/espalier does");
    }
    var command = new ArrayList<String>();
    command.add(java);
    ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
        .filter(flag -> !flag.startsWith("-agentlib") && !flag.startsWith("-javaagent"))
        .forEach(command::add);
    command.addAll(List.of("-cp", classPath, Main.class.getName()));
    command.addAll(arguments);
    return command;
  }
}
