package espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.TimeUnit;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** A measurement in a process of its own, so that its memory is its own. */
final class BenchChild {

  private BenchChild() {}

  /**
   * Runs a worker and reads the last line that it prints.
   *
   * @return its results, or the job with an {@code error}
   */
  static ObjectNode measure(ObjectNode job, List<String> command, Duration limit)
      throws IOException, InterruptedException {
    long start = System.nanoTime();
    Ended ended = run(command, limit);
    ObjectNode result = job.deepCopy();
    if (ended.code() == 0) {
      try {
        result = (ObjectNode) JsonMapper.shared().readTree(ended.out().lines().toList().getLast());
      } catch (JacksonException | ClassCastException | NoSuchElementException e) {
        result.put("error", "the last line is no JSON object: " + last(ended.out()));
      }
    } else {
      result.put("error", "ended with %d: %s".formatted(ended.code(), last(ended.err())));
    }
    return result.put("process_s", Math.round((System.nanoTime() - start) / 1e8) / 10.0);
  }

  /**
   * What a process did.
   *
   * @param code its exit code; -1 if it was stopped because its time was over
   */
  record Ended(int code, String out, String err) {}

  /** Runs a process to its end. */
  static Ended run(List<String> command, Duration limit) throws IOException, InterruptedException {
    Path out = Files.createTempFile("espalier-bench", ".out");
    Path err = Files.createTempFile("espalier-bench", ".err");
    try {
      Process process =
          new ProcessBuilder(command)
              .redirectOutput(out.toFile())
              .redirectError(err.toFile())
              .start();
      process.getOutputStream().close();
      try {
        if (!process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS)) {
          return new Ended(-1, "", "no result within %d s".formatted(limit.toSeconds()));
        }
      } finally {
        if (process.isAlive()) {
          process.destroyForcibly().waitFor();
        }
      }
      return new Ended(process.exitValue(), Files.readString(out), Files.readString(err));
    } finally {
      Files.delete(out);
      Files.delete(err);
    }
  }

  private static String last(String text) {
    return text.lines().filter(line -> !line.isBlank()).reduce((_, last) -> last).orElse("");
  }
}
