package espalier.cli;

import espalier.recipes.Demo;
import espalier.recipes.TrainingRun;
import espalier.training.EvalMetrics;
import espalier.training.Sample;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** The main job on an embedded default, to see it work before a recipe is written. */
@Command(
    name = "demo",
    description =
        "Fine-tune a small instruct model on data that comes with the project: a few minutes.")
final class DemoCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(names = "--quick", description = "Train 40 steps instead of 100")
  private boolean quick;

  @Option(
      names = "--method",
      defaultValue = "lora",
      description = "Any peft_type, such as lora or hira (default ${DEFAULT-VALUE})")
  private String method = "lora";

  @Option(
      names = {"-o", "--output"},
      paramLabel = "DIR",
      description = "The run's folder (default runs/demo-METHOD)")
  private @Nullable Path folder;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "MODEL",
      description = "Another model than SmolLM2-135M-Instruct")
  private @Nullable String model;

  @Mixin private ThreadsOption threads = new ThreadsOption();

  @Override
  public Integer call() throws IOException {
    Output output = Output.of(spec);
    Demo demo =
        Demo.prepare(new Demo.Choice(method, quick, folder, model, threads.number()), output::note);
    try (var listener = new TerminalListener(output, false, 10);
        var run = demo.open(listener)) {
      TrainCommand.facts(run).forEach(output::note);
      List<String> before = demo.answers(run.model());
      TrainingState end = run.train(false);
      listener.finish();
      List<Sample> samples = samples(demo.questions(), before, demo.answers(run.model()));
      run.samples(samples);
      run.report(end);
      answers(output, samples);
      losses(output, listener.evals());
      next(output, demo, run);
    }
    return 0;
  }

  private static List<Sample> samples(
      List<String> questions, List<String> before, List<String> after) {
    var samples = new ArrayList<Sample>();
    for (int i = 0; i < questions.size(); i++) {
      samples.add(new Sample(questions.get(i), before.get(i), after.get(i)));
    }
    return samples;
  }

  private static void answers(Output output, List<Sample> samples) {
    for (Sample sample : samples) {
      output.line("");
      // Never as markup: a model may write what picocli would read as a colour.
      output.line(Ansi.AUTO.string("@|bold question|@ ") + sample.prompt());
      output.line("  before " + oneLine(sample.before()));
      output.line("  after  " + oneLine(sample.after()));
    }
  }

  private static String oneLine(@Nullable String answer) {
    return answer == null ? "" : answer.replaceAll("\\s+", " ").strip();
  }

  private static void losses(Output output, List<EvalMetrics> evals) {
    if (evals.isEmpty()) {
      return;
    }
    EvalMetrics first = evals.getFirst();
    EvalMetrics last = evals.getLast();
    output.line("");
    output.line(
        String.format(
            Locale.ROOT,
            "evaluation loss %.4f -> %.4f nats per token, perplexity %.1f -> %.1f",
            first.loss(),
            last.loss(),
            first.perplexity(),
            last.perplexity()));
  }

  private static void next(Output output, Demo demo, TrainingRun run) {
    String model = demo.recipe().model();
    Path folder = run.folder();
    output.line("adapter  " + run.adapterFile());
    output.line("picture  " + folder.resolve("loss.png"));
    output.line("report   " + folder.resolve("report.html"));
    output.line("");
    output.line("Try next:");
    output.line(
        "  ./espalier generate --model %s --adapter %s --prompt 'Define the noun \"saddle\".'"
            .formatted(quoted(model), quoted(folder)));
    output.line(
        "  ./espalier chat --model %s --adapter %s".formatted(quoted(model), quoted(folder)));
    output.line("  ./espalier train %s".formatted(quoted(demo.ownRecipe())));
  }

  // As a shell needs it, so that the line can be copied.
  private static String quoted(Object word) {
    String text = word.toString();
    return text.matches("[\\w./:=@+-]+") ? text : "'" + text.replace("'", "'\\''") + "'";
  }
}
