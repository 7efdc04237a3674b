package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class RunHistoryTest {

  @TempDir private Path folder;

  @Test
  void what_was_logged_is_read_back() throws IOException {
    Path file = folder.resolve("metrics.jsonl");
    try (RunLog log = RunLog.create(file)) {
      log.eval(RunLogTest.eval(0));
      log.step(RunLogTest.step(10));
    }

    assertThat(RunHistory.read(file))
        .isEqualTo(new RunHistory(List.of(RunLogTest.step(10)), List.of(RunLogTest.eval(0))));
  }

  @Test
  void a_line_that_is_being_written_is_passed_over() throws IOException {
    Path file = folder.resolve("metrics.jsonl");
    Files.writeString(file, "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"lo");

    assertThat(RunHistory.read(file).steps()).extracting(StepMetrics::loss).containsExactly(2.5);
  }

  @Test
  void sums_are_taken_over_all_steps() {
    var history = new RunHistory(List.of(RunLogTest.step(1), RunLogTest.step(2)), List.of());

    assertThat(history.tokens()).isEqualTo(200);
    assertThat(history.peakMemoryBytes()).isEqualTo(3L << 30);
    assertThat(history.finalLoss()).hasValue(2);
  }

  @Test
  void a_run_without_steps_has_no_loss() {
    assertThat(new RunHistory(List.of(), List.of()).finalLoss()).isEmpty();
  }
}
