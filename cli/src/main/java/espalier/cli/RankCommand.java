package espalier.cli;

import espalier.nn.Collective;
import espalier.nn.parallel.GlooCollective;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * Another command in one of the processes that compute a model together; {@link LocalRanks} starts
 * them. Its error goes to standard output, where they look for it.
 */
@Command(
    name = RankCommand.NAME,
    hidden = true,
    description = "One of the processes that another command starts.")
final class RankCommand implements Callable<Integer> {

  static final String NAME = "rank";

  /** The exit code of a rank that failed because another one had gone. */
  static final int LEFT = 3;

  /** How long a rank waits for another, such as one that still fetches the model. */
  private static final Duration PATIENCE = Duration.ofMinutes(10);

  private static final ScopedValue<Collective> RANKS = ScopedValue.newInstance();

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(names = "--rank", required = true, description = "The number of this one, from 0")
  private int rank;

  @Option(names = "--ranks", required = true, description = "How many there are")
  private int ranks;

  @Option(names = "--meeting", required = true, description = "A file that all of them know")
  private Path meeting = Path.of("meeting");

  @Parameters(
      paramLabel = "COMMAND",
      arity = "1..*",
      description = "The command and what it is told")
  private List<String> command = new ArrayList<>();

  /** Those who compute this command's model together, or null if this process does it alone. */
  static @Nullable Collective ranks() {
    return RANKS.isBound() ? RANKS.get() : null;
  }

  /** What starts a command as one of so many ranks. */
  static List<String> arguments(int rank, int size, Path meeting, List<String> command) {
    var arguments = new ArrayList<>(List.of(NAME, "--rank", String.valueOf(rank)));
    arguments.addAll(List.of("--ranks", String.valueOf(size), "--meeting", meeting.toString()));
    arguments.addAll(command);
    return arguments;
  }

  @Override
  public Integer call() {
    endWithParent();
    CommandLine commands =
        Main.commandLine()
            .setOut(spec.commandLine().getOut())
            .setErr(spec.commandLine().getErr())
            .setExecutionExceptionHandler(
                (error, failed, _) -> ErrorReport.write(error, failed.getOut(), false));
    try (var collective = GlooCollective.onThisMachine(meeting, rank, ranks, PATIENCE)) {
      int code =
          ScopedValue.where(RANKS, collective)
              .call(() -> Main.execute(commands, command.toArray(String[]::new)));
      return code != 0 && collective.failed() ? LEFT : code;
    } catch (IllegalStateException e) { // the others did not come
      int _ = ErrorReport.write(e, spec.commandLine().getOut(), false);
      return LEFT;
    }
  }

  // Whoever started this process holds its input open, and so is gone when it ends. What is written
  // is whole at any moment, so the process can be stopped without more ado.
  private static void endWithParent() {
    Thread.ofPlatform()
        .daemon()
        .name("parent")
        .start(
            () -> {
              try {
                while (System.in.read() >= 0) {
                  // nothing is ever written there
                }
              } catch (IOException _) {
                // as good as its end
              }
              Runtime.getRuntime().halt(LEFT);
            });
  }
}
