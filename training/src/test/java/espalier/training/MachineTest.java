package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class MachineTest {

  @TempDir private Path folder;

  @Test
  void the_facts_name_what_a_reader_compares() {
    assertThat(Machine.facts()).containsKeys("System", "Cores", "Memory", "Java");
  }

  @Test
  void the_processor_is_read_from_linux() throws IOException {
    Path cpuinfo =
        Files.writeString(folder.resolve("cpuinfo"), "processor\t: 0\nmodel name\t: Fast 9000\n");

    assertThat(Machine.processor(cpuinfo)).isEqualTo("Fast 9000");
    assertThat(Machine.processor(folder.resolve("none"))).isEmpty();
  }
}
