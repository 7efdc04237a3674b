package espalier.cli;

import espalier.nn.Native;
import java.util.List;
import java.util.Objects;
import java.util.logging.Level;
import java.util.logging.Logger;
import picocli.AutoComplete.GenerateCompletion;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/** The command line: {@code espalier train recipe.yaml} and its kin. */
@Command(
    name = "espalier",
    scope = ScopeType.INHERIT,
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    usageHelpAutoWidth = true,
    sortOptions = false,
    synopsisSubcommandLabel = "COMMAND",
    description = "Parameter-efficient fine-tuning for the JVM.",
    subcommands = {
      DemoCommand.class,
      TrainCommand.class,
      RankCommand.class,
      GenerateCommand.class,
      ChatCommand.class,
      EvalCommand.class,
      MergeCommand.class,
      CombineCommand.class,
      ConvertCommand.class,
      IntrudersCommand.class,
      LoftqCommand.class,
      InitCommand.class,
      InspectCommand.class,
      KappaCommand.class,
      LogitsCommand.class,
      CompareCommand.class,
      BenchCommand.class,
      GenerateCompletion.class,
    })
public final class Main implements Runnable {

  // Commands write the warnings that they are given; the log would say them a second time. It is
  // held here because the log itself forgets settings of loggers that nobody holds.
  private static final Logger LIBRARY = Logger.getLogger("espalier");

  // picocli sets it by reflection
  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = "--verbose",
      scope = ScopeType.INHERIT,
      description = "With an error, show where it came from")
  private boolean verbose;

  /** Runs a command and ends the process: 0 done, 1 the work failed, 2 it was asked wrongly. */
  public static void main(String[] arguments) {
    Native.prepare();
    LIBRARY.setLevel(Level.OFF);
    System.exit(execute(commandLine(), arguments));
  }

  /** The commands, not run yet. */
  static CommandLine commandLine() {
    var commands = new CommandLine(new Main());
    // What follows there is another command, whose options are its own.
    Objects.requireNonNull(commands.getSubcommands().get(RankCommand.NAME))
        .setStopAtPositional(true);
    return commands
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setExecutionExceptionHandler(
            (error, command, _) -> ErrorReport.write(error, command.getErr(), isVerbose(command)))
        .setParameterExceptionHandler(
            (error, _) ->
                ErrorReport.writeUsage(
                    error, error.getCommandLine().getErr(), isVerbose(error.getCommandLine())));
  }

  /** The command that is running, with its arguments, as it was given. */
  static List<String> arguments(CommandSpec running) {
    return running.root().commandLine().getParseResult().originalArgs();
  }

  /** Runs a command; errors of the virtual machine are reported like any other. */
  static int execute(CommandLine commands, String... arguments) {
    try {
      return commands.execute(arguments);
    } catch (OutOfMemoryError | StackOverflowError | LinkageError e) {
      return ErrorReport.write(e, commands.getErr(), isVerbose(commands));
    }
  }

  private static boolean isVerbose(CommandLine command) {
    return command.getCommandSpec().root().userObject() instanceof Main main && main.verbose;
  }

  @Override
  public void run() {
    throw new ParameterException(
        spec.commandLine(), "no command was given; espalier --help lists them");
  }
}
