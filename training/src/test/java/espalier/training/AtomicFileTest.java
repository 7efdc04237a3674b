package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class AtomicFileTest {

  @TempDir private Path folder;

  @Test
  void the_new_content_replaces_the_old() throws IOException {
    Path file = Files.writeString(folder.resolve("a.txt"), "a long old content");

    AtomicFile.write(file, "new");

    assertThat(file).hasContent("new");
    try (var files = Files.list(folder)) {
      assertThat(files).containsExactly(file);
    }
  }

  @Test
  void a_failure_leaves_nothing_behind() throws IOException {
    Path occupied = Files.createDirectory(folder.resolve("a.txt"));
    Files.createFile(occupied.resolve("inside"));

    assertThatThrownBy(() -> AtomicFile.write(occupied, "new")).isInstanceOf(IOException.class);

    try (var files = Files.list(folder)) {
      assertThat(files).containsExactly(occupied);
    }
  }
}
