package espalier.cli;

import java.io.PrintWriter;
import java.io.StringWriter;

/** What a command line did. */
record CommandRun(int exitCode, String out, String err) {

  static CommandRun of(String... arguments) {
    var out = new StringWriter();
    var err = new StringWriter();
    var commands = Main.commandLine().setOut(new PrintWriter(out)).setErr(new PrintWriter(err));
    int code = Main.execute(commands, arguments);
    return new CommandRun(code, out.toString(), err.toString());
  }
}
