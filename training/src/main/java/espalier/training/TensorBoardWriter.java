package espalier.training;

import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.CRC32C;

/**
 * Writes a run for TensorBoard: a file of events, each framed by its length and check sums.
 *
 * @see <a
 *     href="https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto">event.proto
 *     and summary.proto, whose field numbers are used here</a>
 */
public final class TensorBoardWriter implements RunListener, AutoCloseable {

  private static final int SESSION_START = 1;

  private final Path file;
  private final FileChannel channel;

  private TensorBoardWriter(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /** Begins the events of a new run in {@code folder}, which is made where it is missing. */
  public static TensorBoardWriter create(Path folder) throws IOException {
    return open(folder, 0);
  }

  /**
   * Goes on with a run that is resumed after {@code step}: a second file, which tells TensorBoard
   * to forget what earlier files hold beyond that step.
   */
  public static TensorBoardWriter resume(Path folder, int step) throws IOException {
    return open(folder, step + 1);
  }

  private static TensorBoardWriter open(Path folder, int firstStep) throws IOException {
    Files.createDirectories(folder);
    for (long second = System.currentTimeMillis() / 1000; ; second++) {
      // TensorBoard reads the files in the order of their names, so a later one has a later second.
      Path file = folder.resolve("events.out.tfevents.%010d.espalier".formatted(second));
      try {
        var writer = new TensorBoardWriter(file, FileChannel.open(file, CREATE_NEW, WRITE));
        writer.begin(firstStep);
        return writer;
      } catch (FileAlreadyExistsException taken) {
        // begun within the same second: take the next
      }
    }
  }

  private void begin(int firstStep) {
    append(event(firstStep).text(3, "brain.Event:2"));
    // From version 2 on, a session that starts at a step replaces all there was from that step on.
    append(event(firstStep).message(7, new ProtoBytes().integer(1, SESSION_START)));
  }

  @Override
  public void step(StepMetrics metrics) {
    var summary = new ProtoBytes();
    scalar(summary, "train/loss", metrics.loss());
    scalar(summary, "train/learning_rate", metrics.learningRate());
    scalar(summary, "train/grad_norm", metrics.gradNorm());
    scalar(summary, "train/tokens_per_second", metrics.tokensPerSecond());
    scalar(summary, "train/peak_memory_gib", metrics.peakMemoryBytes() / 0x1p30);
    append(event(metrics.step()).message(5, summary));
  }

  @Override
  public void eval(EvalMetrics metrics) {
    var summary = new ProtoBytes();
    scalar(summary, "eval/loss", metrics.loss());
    scalar(summary, "eval/perplexity", metrics.perplexity());
    scalar(summary, "eval/token_accuracy", metrics.tokenAccuracy());
    append(event(metrics.step()).message(5, summary));
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  private static ProtoBytes event(int step) {
    return new ProtoBytes().number(1, System.currentTimeMillis() / 1000.0).integer(2, step);
  }

  private static void scalar(ProtoBytes summary, String tag, double value) {
    summary.message(1, new ProtoBytes().text(1, tag).number(2, (float) value));
  }

  private void append(ProtoBytes event) {
    byte[] data = event.toByteArray();
    ByteBuffer record = ByteBuffer.allocate(8 + 4 + data.length + 4).order(ByteOrder.LITTLE_ENDIAN);
    record.putLong(data.length);
    record.putInt(maskedCrc(record.array(), 0, 8));
    record.put(data);
    record.putInt(maskedCrc(data, 0, data.length));
    record.flip();
    try {
      while (record.hasRemaining()) {
        channel.write(record);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "%s could not be written: %s; make room and resume the run"
              .formatted(file, e.getMessage()),
          e);
    }
  }

  /** CRC-32C, turned and shifted so that a check sum over data with check sums in it stays good. */
  private static int maskedCrc(byte[] bytes, int from, int length) {
    var crc = new CRC32C();
    crc.update(bytes, from, length);
    return Integer.rotateRight((int) crc.getValue(), 15) + 0xA282EAD8;
  }
}
