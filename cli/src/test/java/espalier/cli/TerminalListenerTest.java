package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.training.StepMetrics;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** A bar for a person, lines for everybody else. */
class TerminalListenerTest {

  private final StringWriter notes = new StringWriter();

  /** Shows two steps, and returns what went past the notes to standard error. */
  private String shown(boolean quiet, boolean terminal) {
    var drawn = new ByteArrayOutputStream();
    var output = new Output(new PrintWriter(new StringWriter()), new PrintWriter(notes));
    PrintStream before = System.err;
    System.setErr(new PrintStream(drawn, true, StandardCharsets.UTF_8));
    try (var listener = new TerminalListener(output, quiet, 0, terminal)) {
      listener.step(new StepMetrics(1, 2, 2.5, 1e-3, 1, 10, 100, 0));
      listener.step(new StepMetrics(2, 2, 1.5, 1e-3, 1, 10, 100, 0));
    } finally {
      System.setErr(before);
    }
    return drawn.toString(StandardCharsets.UTF_8);
  }

  @Test
  void a_terminal_has_a_bar_and_no_lines() {
    assertThat(shown(false, true)).contains("training", "2/2", "loss 1.500");
    assertThat(notes.toString()).isEmpty();
  }

  @Test
  void a_file_has_lines_and_no_bar() {
    assertThat(shown(false, false)).isEmpty();
    assertThat(notes.toString().lines())
        .hasSize(2)
        .allMatch(line -> line.matches("step \\d/2 {2}loss \\d\\.5000 {2}100 tokens/s.*"));
  }

  @Test
  void a_quiet_run_has_neither() {
    assertThat(shown(true, true)).isEmpty();
    assertThat(notes.toString()).isEmpty();
  }
}
