package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.zip.CRC32;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files made to do harm: each is read whole or refused, and the JVM is there afterwards. */
class HostileSafetensorsTest {

  private static final int FILES = 2000;

  @TempDir Path folder;

  @Test
  void every_mutated_file_is_read_whole_or_refused() {
    var mutator = new SafetensorsMutator(20261123);
    int read = 0;
    int refused = 0;

    for (int i = 0; i < FILES; i++) {
      byte[] content = mutator.next();
      Path path = RawSafetensors.write(folder, "m" + i % 50 + ".safetensors", content);
      try {
        readAll(path);
        read++;
      } catch (CheckpointException e) {
        assertThat(e).hasMessageStartingWith(path.toString());
        refused++;
      }
    }

    // Flipped data bits leave a file valid, so some of each kind must be there.
    assertThat(refused).isGreaterThan(FILES / 2);
    assertThat(read).isGreaterThan(FILES / 50);
    assertThat(read + refused).isEqualTo(FILES);
  }

  @Test
  void the_file_that_the_others_are_made_of_is_valid() {
    Path path = RawSafetensors.write(folder, "valid.safetensors", SafetensorsMutator.valid());

    assertThat(readAll(path)).isPositive();
  }

  /** Touches every byte of every tensor. */
  private static long readAll(Path path) {
    var crc = new CRC32();
    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(path)) {
      for (var entry : file.entries().entrySet()) {
        if (entry.getValue().dtype().startsWith("F6")) {
          continue; // no type of libtorch's; its own test says so
        }
        Tensor tensor = file.tensor(entry.getKey());
        assertThat(tensor.nbytes()).isEqualTo(entry.getValue().bytes());
        if (tensor.nbytes() > 0) {
          byte[] bytes = new byte[(int) tensor.nbytes()];
          new BytePointer(tensor.data_ptr()).get(bytes);
          crc.update(bytes);
        }
      }
    }
    return crc.getValue();
  }
}
