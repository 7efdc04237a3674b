package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {

  @TempDir Path folder;

  private void assertFiles(String... names) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files.map(file -> file.getFileName().toString())).containsExactlyInAnyOrder(names);
    }
  }

  @Test
  void a_file_is_written_and_nothing_is_left_beside_it() throws IOException {
    Path file = folder.resolve("a.json");

    AtomicFiles.write(file, "{\"é\":1}");

    assertThat(file).hasContent("{\"é\":1}");
    assertFiles("a.json");
  }

  @Test
  void a_file_that_is_there_is_replaced() {
    Path file = folder.resolve("a");
    AtomicFiles.write(file, "old and longer");

    AtomicFiles.write(file, new byte[] {1, 2});

    assertThat(file).hasBinaryContent(new byte[] {1, 2});
  }

  @Test
  void a_write_that_fails_leaves_the_old_content_and_no_remains() throws IOException {
    Path file = folder.resolve("a");
    AtomicFiles.write(file, "old");

    assertThatThrownBy(
            () ->
                AtomicFiles.write(
                    file,
                    out -> {
                      out.write(new byte[100_000]);
                      throw new IllegalStateException("mine");
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("mine");

    assertThat(file).hasContent("old");
    assertFiles("a");
  }

  @Test
  void a_full_disk_is_named_and_leaves_nothing() throws IOException {
    Path file = folder.resolve("a");

    assertThatThrownBy(
            () ->
                AtomicFiles.write(
                    file,
                    _ -> {
                      throw new IOException("No space left on device");
                    }))
        .isInstanceOf(CheckpointException.class)
        .hasMessageMatching(
            ("\\Q%s\\E could not be written: the disk is full \\(.+ are free\\); make"
                    + " room or choose another folder")
                .formatted(file));

    assertFiles();
  }

  @Test
  void a_folder_in_the_way_is_named() throws IOException {
    Path file = Files.createDirectory(folder.resolve("a"));

    assertThatThrownBy(() -> AtomicFiles.write(file, "text"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            file + " could not be written: a folder of that name is in the way; move it away");

    assertFiles("a");
  }

  @Test
  void a_written_file_is_readable_like_any_other() throws IOException {
    Path plain = Files.writeString(folder.resolve("plain"), "x");
    Path atomic = folder.resolve("atomic");

    AtomicFiles.write(atomic, "x");

    if (plain.getFileSystem().supportedFileAttributeViews().contains("posix")) {
      assertThat(Files.getPosixFilePermissions(atomic))
          .isEqualTo(Files.getPosixFilePermissions(plain));
    }
  }
}
