package espalier.training;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.TRUNCATE_EXISTING;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * Writes {@code metrics.jsonl}: one object for each step and each evaluation, handed to the system
 * line by line, so that a run can be watched and a killed one has all it did.
 *
 * <p>A step has {@code step}, {@code loss}, {@code learning_rate}, {@code grad_norm}, {@code
 * tokens}, {@code tokens_per_second} and {@code peak_memory_bytes}; an evaluation has {@code step},
 * {@code eval_loss}, {@code perplexity}, {@code token_accuracy} and {@code eval_tokens}. JSON knows
 * no NaN and no infinity: such a value is null.
 */
public final class RunLog implements RunListener, AutoCloseable {

  private final Path file;
  private final FileChannel channel;

  private RunLog(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /** Begins the log of a new run; an old one in this place is lost, a missing folder is made. */
  public static RunLog create(Path file) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    return new RunLog(file, FileChannel.open(file, CREATE, WRITE, TRUNCATE_EXISTING));
  }

  /**
   * Goes on with the log of a run that is resumed after {@code step}. What the killed run did
   * beyond that step will be done again, so its lines are cut off, and so is a line that is not
   * whole.
   */
  public static RunLog resume(Path file, int step) throws IOException {
    FileChannel channel = FileChannel.open(file, CREATE, WRITE);
    try {
      long kept = bytesUpTo(step, Files.readAllBytes(file));
      channel.truncate(kept).position(kept);
      return new RunLog(file, channel);
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  @Override
  public void step(StepMetrics metrics) {
    ObjectNode line = JsonMapper.shared().createObjectNode();
    line.put("step", metrics.step());
    put(line, "loss", metrics.loss());
    put(line, "learning_rate", metrics.learningRate());
    put(line, "grad_norm", metrics.gradNorm());
    line.put("tokens", metrics.tokens());
    put(line, "tokens_per_second", metrics.tokensPerSecond());
    line.put("peak_memory_bytes", metrics.peakMemoryBytes());
    append(line);
  }

  @Override
  public void eval(EvalMetrics metrics) {
    ObjectNode line = JsonMapper.shared().createObjectNode();
    line.put("step", metrics.step());
    put(line, "eval_loss", metrics.loss());
    put(line, "perplexity", metrics.perplexity());
    put(line, "token_accuracy", metrics.tokenAccuracy());
    line.put("eval_tokens", metrics.tokens());
    append(line);
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  private void append(ObjectNode line) {
    ByteBuffer bytes = ByteBuffer.wrap((line + "\n").getBytes(UTF_8));
    try {
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "%s could not be written: %s; make room and resume the run"
              .formatted(file, e.getMessage()),
          e);
    }
  }

  private static void put(ObjectNode line, String name, double value) {
    if (Double.isFinite(value)) {
      line.put(name, value);
    } else {
      line.putNull(name);
    }
  }

  /** The length of the lines, from the first on, that are whole and not beyond {@code step}. */
  private static int bytesUpTo(int step, byte[] log) {
    int kept = 0;
    for (int i = 0; i < log.length; i++) {
      if (log[i] == '\n') {
        if (!belongs(new String(log, kept, i - kept, UTF_8), step)) {
          return kept;
        }
        kept = i + 1;
      }
    }
    return kept;
  }

  private static boolean belongs(String line, int step) {
    try {
      JsonNode node = JsonMapper.shared().readTree(line);
      return node.path("step").isInt() && node.path("step").intValue() <= step;
    } catch (JacksonException notWhole) {
      return false;
    }
  }
}
