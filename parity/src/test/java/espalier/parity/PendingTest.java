package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class PendingTest {

  @TempDir Path folder;

  @Test
  void every_line_names_a_case_of_this_project() {
    Path cases = CasesFolder.module().resolve("cases");

    assertThat(Pending.in(CasesFolder.module().resolve("pending.txt")).reasons().keySet())
        .allSatisfy(name -> assertThat(cases.resolve(name).resolve("case.json")).exists());
  }

  @Test
  void a_line_is_a_name_and_a_reason() throws IOException {
    Pending pending = pending("# later\n\ncase_a  no such thing yet\n");

    assertThat(pending.reason("case_a")).isEqualTo("no such thing yet");
    assertThat(pending.reason("case_b")).isNull();
  }

  @Test
  void a_line_without_a_reason_is_refused() {
    assertThatThrownBy(() -> pending("case_a\n")).hasMessageEndingWith("no reason for case_a");
  }

  @Test
  void a_case_that_is_listed_twice_is_refused() {
    assertThatThrownBy(() -> pending("case_a x\ncase_a y\n"))
        .hasMessageEndingWith("lists case_a twice");
  }

  private Pending pending(String text) throws IOException {
    return Pending.in(Files.writeString(folder.resolve("pending.txt"), text));
  }
}
