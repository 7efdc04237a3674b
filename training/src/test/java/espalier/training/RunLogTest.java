package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class RunLogTest {

  @TempDir private Path folder;

  private Path metrics() {
    return folder.resolve("metrics.jsonl");
  }

  /** A step whose loss is its number. */
  static StepMetrics step(int step) {
    return new StepMetrics(step, 10, step, 2e-4, 0.5, 100, 410.5, 3L << 30);
  }

  static EvalMetrics eval(int step) {
    return new EvalMetrics(step, 1.5, 0.25, 64);
  }

  private void killedAfterStep(int last) throws IOException {
    try (RunLog log = RunLog.create(metrics())) {
      log.eval(eval(0));
      for (int step = 1; step <= last; step++) {
        log.step(step(step));
      }
      log.eval(eval(last));
    }
  }

  @Test
  void each_event_is_a_line_with_the_documented_fields() throws IOException {
    try (RunLog log = RunLog.create(metrics())) {
      log.step(step(3));
      log.eval(eval(3));

      // read while the log is still open: a killed run leaves the same
      assertThat(metrics())
          .hasContent(
              """
              {"step":3,"loss":3.0,"learning_rate":2.0E-4,"grad_norm":0.5,"tokens":100,"tokens_per_second":410.5,"peak_memory_bytes":3221225472}
              {"step":3,"eval_loss":1.5,"perplexity":4.4816890703380645,"token_accuracy":0.25,"eval_tokens":64}
              """);
    }
  }

  @Test
  void what_json_cannot_say_is_null() throws IOException {
    try (RunLog log = RunLog.create(metrics())) {
      log.step(new StepMetrics(1, 10, Double.NaN, 1, Double.POSITIVE_INFINITY, 1, 1, 1));
    }

    assertThat(Files.readString(metrics()))
        .contains("\"loss\":null")
        .contains("\"grad_norm\":null");
    assertThat(RunHistory.read(metrics()).steps().getFirst().loss()).isNaN();
  }

  @Test
  void a_resumed_run_loses_what_it_will_do_again() throws IOException {
    killedAfterStep(6);

    try (RunLog log = RunLog.resume(metrics(), 4)) {
      log.step(step(5));
    }

    RunHistory history = RunHistory.read(metrics());
    assertThat(history.steps()).extracting(StepMetrics::step).containsExactly(1, 2, 3, 4, 5);
    assertThat(history.evals()).extracting(EvalMetrics::step).containsExactly(0);
  }

  @Test
  void a_resumed_run_keeps_the_evaluation_of_its_own_step() throws IOException {
    killedAfterStep(4);

    RunLog.resume(metrics(), 4).close();

    assertThat(RunHistory.read(metrics()).evals())
        .extracting(EvalMetrics::step)
        .containsExactly(0, 4);
  }

  @Test
  void a_half_written_last_line_is_cut_off() throws IOException {
    killedAfterStep(4);
    String whole = Files.readString(metrics());
    Files.writeString(metrics(), "{\"step\":4,\"lo", StandardOpenOption.APPEND);

    RunLog.resume(metrics(), 4).close();

    assertThat(metrics()).hasContent(whole);
  }

  @Test
  void a_line_of_rubbish_ends_what_is_kept() throws IOException {
    Files.writeString(metrics(), "{\"step\":1,\"loss\":1}\n\0\0\0\n{\"step\":2,\"loss\":1}\n");

    RunLog.resume(metrics(), 2).close();

    assertThat(metrics()).hasContent("{\"step\":1,\"loss\":1}\n");
  }

  @Test
  void a_run_may_be_resumed_without_its_log() throws IOException {
    try (RunLog log = RunLog.resume(metrics(), 4)) {
      log.step(step(5));
    }

    assertThat(RunHistory.read(metrics()).steps()).hasSize(1);
  }

  @Test
  void a_new_run_begins_anew() throws IOException {
    killedAfterStep(6);

    RunLog.create(metrics()).close();

    assertThat(metrics()).isEmptyFile();
  }
}
