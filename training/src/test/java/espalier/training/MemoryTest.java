package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class MemoryTest {

  @TempDir private Path folder;

  @Test
  void the_figures_of_linux_are_taken_in_bytes() throws IOException {
    Path status = folder.resolve("status");
    Files.writeString(status, "Name:\tjava\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n");
    var memory = new Memory(status, folder.resolve("none"));

    assertThat(memory.resident()).isEqualTo(1 << 20);
    assertThat(memory.peak()).isEqualTo(2 << 20);
  }

  @Test
  void elsewhere_the_system_is_asked_another_way() {
    var memory = new Memory(folder.resolve("none"), folder.resolve("none"));

    long now = memory.resident();

    assertThat(now).isGreaterThan(1 << 20);
    assertThat(memory.peak()).isGreaterThanOrEqualTo(now);
  }

  @Test
  void resetting_writes_what_linux_documents() throws IOException {
    Path clearRefs = Files.createFile(folder.resolve("clear_refs"));

    new Memory(folder.resolve("none"), clearRefs).reset();

    assertThat(clearRefs).hasContent("5");
  }

  @Test
  void the_peak_of_this_process_is_no_less_than_what_it_holds() {
    Memory.resetPeak();

    assertThat(Memory.residentBytes()).isPositive();
    // the two are read one after the other, and pages come and go in between
    assertThat(Memory.peakBytes()).isGreaterThan(Memory.residentBytes() / 2);
  }
}
