package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class WholeFileTest {

  @TempDir private Path folder;

  private void assertFiles(Path... expected) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).containsExactlyInAnyOrder(expected);
    }
  }

  @Test
  void the_new_content_replaces_the_old() throws IOException {
    Path file = Files.writeString(folder.resolve("a.txt"), "a long old content");

    WholeFile.write(file, "né");

    assertThat(file).hasContent("né");
    assertFiles(file);
  }

  @Test
  void a_disk_that_fills_up_leaves_the_old_content() throws IOException {
    Path file = Files.writeString(folder.resolve("a.txt"), "old");

    assertThatThrownBy(
            () ->
                WholeFile.write(
                    file,
                    channel -> {
                      channel.write(ByteBuffer.allocate(100_000));
                      throw new IOException("No space left on device");
                    }))
        .isInstanceOf(IOException.class)
        .hasMessage("No space left on device");

    assertThat(file).hasContent("old");
    assertFiles(file);
  }

  @Test
  void an_interrupted_write_leaves_the_old_content() throws IOException {
    Path file = Files.writeString(folder.resolve("a.txt"), "old");

    Thread.currentThread().interrupt();
    assertThatThrownBy(() -> WholeFile.write(file, "new"))
        .isInstanceOf(ClosedByInterruptException.class);

    assertThat(Thread.interrupted()).isTrue();
    assertThat(file).hasContent("old");
    assertFiles(file);
  }

  @Test
  void a_folder_in_the_way_stays() throws IOException {
    Path occupied = Files.createDirectory(folder.resolve("a.txt"));
    Files.createFile(occupied.resolve("inside"));

    assertThatThrownBy(() -> WholeFile.write(occupied, "new")).isInstanceOf(IOException.class);

    assertFiles(occupied);
  }

  @Test
  void a_folder_that_is_missing_is_not_made() throws IOException {
    Path file = folder.resolve("missing").resolve("a.txt");

    assertThatThrownBy(() -> WholeFile.write(file, "new")).isInstanceOf(NoSuchFileException.class);

    assertFiles();
  }
}
