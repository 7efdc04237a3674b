package espalier.cli;

import espalier.training.EvalMetrics;
import espalier.training.RunListener;
import espalier.training.StepMetrics;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** Shows a run to a person: a progress bar on a terminal, otherwise a line now and then. */
final class TerminalListener implements RunListener, AutoCloseable {

  private static final Duration BETWEEN_LINES = Duration.ofSeconds(10);

  private final Output output;
  private final boolean quiet;
  private final int lines;
  private final boolean terminal;
  private final List<EvalMetrics> evals = new ArrayList<>();
  private @Nullable ProgressBar bar;
  private @Nullable StepMetrics first;
  private long began;
  private long lastLine;

  /**
   * Shows a run.
   *
   * @param quiet whether only what a person must know is shown
   * @param lines how many lines about the loss a run has at least, also beside a bar
   */
  TerminalListener(Output output, boolean quiet, int lines) {
    this(output, quiet, lines, StandardStream.ERROR.isTerminal());
  }

  /** The same, told whether a person sits at the other end of standard error. */
  TerminalListener(Output output, boolean quiet, int lines, boolean terminal) {
    this.output = output;
    this.quiet = quiet;
    this.lines = lines;
    this.terminal = terminal;
  }

  @Override
  public void step(StepMetrics now) {
    if (quiet) {
      return;
    }
    long time = System.nanoTime();
    boolean begins = first == null;
    StepMetrics start = first == null ? now : first;
    if (begins) {
      first = now;
      began = time;
    }
    int every = lines == 0 ? Integer.MAX_VALUE : Math.max(1, now.totalSteps() / lines);
    boolean due =
        now.step() % every == 0
            || (!terminal
                && (now.step() == now.totalSteps()
                    || begins
                    || time - lastLine >= BETWEEN_LINES.toNanos()));
    if (due) {
      lastLine = time;
      say(line(now, start, time - began));
    }
    if (terminal) {
      bar(now);
    }
  }

  private static String line(StepMetrics now, StepMetrics first, long nanos) {
    String text =
        String.format(
            Locale.ROOT,
            "step %d/%d  loss %.4f  %.0f tokens/s",
            now.step(),
            now.totalSteps(),
            now.loss(),
            now.tokensPerSecond());
    // The first step's time is not in it, which is right: that one also warms up.
    int timed = now.step() - first.step();
    int left = now.totalSteps() - now.step();
    return timed == 0 || left == 0
        ? text
        : text + "  " + shown(Duration.ofNanos(nanos / timed * left)) + " left";
  }

  private static String shown(Duration time) {
    long seconds = Math.max(1, time.toSeconds());
    if (seconds < 90) {
      return seconds + " s";
    }
    return seconds < 5400
        ? "%d min".formatted((seconds + 30) / 60)
        : "%d h %02d min".formatted(seconds / 3600, seconds % 3600 / 60);
  }

  private void bar(StepMetrics now) {
    ProgressBar shown = bar;
    if (shown == null) {
      shown =
          new ProgressBarBuilder()
              .setTaskName("training")
              .setInitialMax(now.totalSteps())
              .startsFrom(now.step() - 1, Duration.ZERO)
              .setStyle(ProgressBarStyle.UNICODE_BLOCK)
              .setUpdateIntervalMillis(500)
              .setConsumer(new ConsoleProgressBarConsumer(System.err))
              .build();
      bar = shown;
    }
    shown.setExtraMessage(
        String.format(Locale.ROOT, " loss %.3f, %.0f tokens/s", now.loss(), now.tokensPerSecond()));
    shown.stepTo(now.step());
    if (now.step() == now.totalSteps()) {
      finish();
    }
  }

  @Override
  public void eval(EvalMetrics metrics) {
    evals.add(metrics);
    if (!quiet) {
      say(
          String.format(
              Locale.ROOT,
              "step %d: evaluation loss %.4f, perplexity %.2f, token accuracy %.1f %%",
              metrics.step(),
              metrics.loss(),
              metrics.perplexity(),
              100 * metrics.tokenAccuracy()));
    }
  }

  @Override
  public void message(String text) {
    say(text);
  }

  /** The evaluations so far, in order. */
  List<EvalMetrics> evals() {
    return List.copyOf(evals);
  }

  // A line that is written while the bar stands goes over it, and the bar is drawn again below.
  private void say(String text) {
    output.note(bar == null ? text : "\r\033[K" + text);
  }

  /** Takes the bar away, so that others can write. */
  void finish() {
    if (bar != null) {
      bar.close();
      bar = null;
    }
  }

  @Override
  public void close() {
    finish();
  }
}
