package espalier.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** A process that is one of several ranks, as the one that started it sees it. */
final class RankProcess {

  private static final String ERROR = "error: ";

  /** Gloo tells whom it is connected to, on the standard output of its process. */
  private static final String CONNECTED = "[Gloo]";

  private final int rank;
  private final Process process;
  private final List<Thread> readers = new ArrayList<>();
  private volatile @Nullable String error;
  private volatile String lastNote = "";
  private volatile boolean stopped;

  private RankProcess(int rank, Process process) {
    this.rank = rank;
    this.process = process;
  }

  /** Starts a rank; what rank 0 says is passed on. */
  static RankProcess start(List<String> command, int rank, Output output) throws IOException {
    boolean speaks = rank == 0;
    // A progress bar is drawn on a terminal only, and then by the process itself.
    boolean draws = speaks && StandardStream.ERROR.isTerminal();
    var builder = new ProcessBuilder(command);
    if (draws) {
      builder.redirectError(Redirect.INHERIT);
    }
    var started = new RankProcess(rank, builder.start());
    started.read(started.process.getInputStream(), line -> started.heard(line, speaks, output));
    if (!draws) {
      started.read(
          started.process.getErrorStream(),
          line -> {
            started.lastNote = line.isBlank() ? started.lastNote : line;
            if (speaks) {
              output.note(line);
            }
          });
    }
    return started;
  }

  private void heard(String line, boolean speaks, Output output) {
    if (line.startsWith(ERROR)) {
      error = line;
    } else if (speaks && !line.startsWith(CONNECTED)) {
      output.line(line);
    }
  }

  private void read(InputStream stream, Consumer<String> body) {
    readers.add(
        Thread.ofVirtual()
            .start(
                () -> {
                  try (var reader =
                      new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
                    reader.lines().forEach(body);
                  } catch (IOException | UncheckedIOException _) {
                    // the process was stopped while it spoke
                  }
                }));
  }

  int rank() {
    return rank;
  }

  void whenEnded(Runnable body) {
    var _ = process.onExit().thenRun(body);
  }

  int exitCode() {
    return process.exitValue();
  }

  /** Whether it had to be stopped. */
  boolean stopped() {
    return stopped;
  }

  void stop() {
    if (process.isAlive()) {
      stopped = true;
      process.destroyForcibly();
    }
  }

  /** Waits until all that the ended process said has been heard. */
  void finishReading() throws InterruptedException {
    for (Thread reader : readers) {
      reader.join();
    }
  }

  /**
   * Why it failed, as one paragraph.
   *
   * @param size how many ranks there are
   * @param way what can be done about one that was killed
   */
  String error(int size, String way) {
    String own = error;
    if (own != null) {
      return own;
    }
    int code = exitCode();
    String how = code > 128 ? "was killed by signal %d".formatted(code - 128) : lastNote;
    return "%srank %d of %d ended with code %d: %s; the others were ended too; %s"
        .formatted(ERROR, rank, size, code, how.isBlank() ? "it said nothing" : how, way);
  }
}
