package espalier.training;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class TensorBoardWriterTest {

  @TempDir private Path folder;

  /** The records of an event file, their lengths and check sums proven. */
  private static List<byte[]> records(Path file) throws IOException {
    ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    var records = new ArrayList<byte[]>();
    while (in.hasRemaining()) {
      byte[] header = new byte[8];
      in.get(header);
      assertThat(in.getInt()).isEqualTo(masked(header));
      byte[] data =
          new byte[(int) ByteBuffer.wrap(header).order(ByteOrder.LITTLE_ENDIAN).getLong()];
      in.get(data);
      assertThat(in.getInt()).isEqualTo(masked(data));
      records.add(data);
    }
    return records;
  }

  private static int masked(byte[] bytes) {
    var crc = new CRC32C();
    crc.update(bytes);
    long value = crc.getValue();
    return (int) (((value >>> 15) | (value << 17 & 0xFFFFFFFFL)) + 0xA282EAD8L);
  }

  private List<Path> files() throws IOException {
    try (var files = Files.list(folder)) {
      return files.sorted().toList();
    }
  }

  @Test
  void a_file_begins_with_its_version_and_a_session() throws IOException {
    TensorBoardWriter.create(folder).close();

    List<byte[]> records = records(files().getFirst());

    assertThat(new String(records.getFirst(), ISO_8859_1)).endsWith("\032\rbrain.Event:2");
    // field 2, step 0; field 7, a message of two bytes: field 1, status START
    assertThat(records.get(1)).endsWith(2 << 3, 0, 7 << 3 | 2, 2, 1 << 3, 1);
  }

  @Test
  void a_step_has_its_scalars() throws IOException {
    try (var writer = TensorBoardWriter.create(folder)) {
      writer.step(RunLogTest.step(3));
    }

    byte[] event = records(files().getFirst()).getLast();

    assertThat(event[9]).isEqualTo((byte) (2 << 3));
    assertThat(event[10]).isEqualTo((byte) 3);
    // the value of train/loss: its tag, then field 2 with the bits of 3.0f
    assertThat(new String(event, ISO_8859_1))
        .contains("\ntrain/loss\025\0\0@@")
        .contains("train/learning_rate", "train/grad_norm", "train/peak_memory_gib");
  }

  @Test
  void an_evaluation_has_its_scalars() throws IOException {
    try (var writer = TensorBoardWriter.create(folder)) {
      writer.eval(RunLogTest.eval(3));
    }

    assertThat(new String(records(files().getFirst()).getLast(), ISO_8859_1))
        .contains("eval/loss", "eval/perplexity", "eval/token_accuracy");
  }

  @Test
  void a_resumed_run_has_a_later_file_that_takes_back_the_steps_to_come() throws IOException {
    TensorBoardWriter.create(folder).close();
    TensorBoardWriter.resume(folder, 300).close();

    assertThat(files()).hasSize(2);
    // step 301 is 0xAD 0x02 as a varint
    assertThat(records(files().get(1)).get(1))
        .endsWith(2 << 3, 0xAD, 0x02, 7 << 3 | 2, 2, 1 << 3, 1);
  }
}
