package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.CausalTrainee;
import espalier.recipes.DataSection;
import espalier.text.ExampleEncoder;
import espalier.text.Tokenizer;
import espalier.training.DataFormat;
import espalier.training.Dataset;
import espalier.training.Encoded;
import espalier.training.EvalMetrics;
import espalier.training.Examples;
import espalier.training.OverlongPolicy;
import espalier.training.Row;
import espalier.training.TrainingLoop;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Measures a model on data. */
@Command(
    name = "eval",
    description = "Loss (nats per token), perplexity and token accuracy of a model on data.")
final class EvalCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOptions model = new ModelOptions();

  @Option(
      names = {"-d", "--data"},
      required = true,
      paramLabel = "FILE",
      description = "A file or a glob: .jsonl .json .csv .parquet; may be given again")
  private List<String> data = new ArrayList<>();

  @Option(
      names = "--format",
      paramLabel = "FORMAT",
      description = "messages, prompt-completion, text or tokens (default: found out)")
  private @Nullable String format;

  /** Which tokens count. */
  enum Counted {
    assistant,
    all
  }

  @Option(
      names = "--train-on",
      paramLabel = "WHAT",
      defaultValue = "assistant",
      description = "The tokens that count: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE})")
  private Counted counted = Counted.assistant;

  @Option(
      names = "--max-length",
      paramLabel = "N",
      description =
          "Tokens after which an example is cut (default 1024, or as many as the model reads)")
  private @Nullable Integer maxLength;

  @Option(
      names = "--tensor-parallel",
      paramLabel = "N",
      defaultValue = "1",
      description =
          "Processes that compute the model together, each with a part of its large layers"
              + " (default ${DEFAULT-VALUE})")
  private int ranks = 1;

  @Option(names = "--json", description = "Print one JSON object")
  private boolean json;

  private int longest(PretrainedModel loaded, Output output) {
    int limit = loaded.model().config().maxPositions();
    int asked = maxLength == null ? DataSection.USUAL_LENGTH : maxLength;
    if (limit == 0 || asked <= limit) {
      return asked;
    }
    if (maxLength != null) {
      throw new IllegalArgumentException(
          "--max-length is %d but the model reads %d tokens at most; lower it, or leave it out"
              .formatted(asked, limit));
    }
    output.note(
        "max length is %d, since the model reads no more tokens than that".formatted(limit));
    return limit;
  }

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    if (ranks < 1) {
      throw new ParameterException(
          spec.commandLine(),
          "--tensor-parallel is %d but must be 1 or more; 1 keeps the model in one process"
              .formatted(ranks));
    }
    if (ranks > 1 && RankCommand.ranks() == null) {
      return new LocalRanks(output, ranks, "run it again").run(Main.arguments(spec));
    }
    List<Row> rows = Dataset.read(data, format == null ? null : DataFormat.of(format));
    try (PretrainedModel loaded = model.load(output)) {
      Tokenizer tokenizer = loaded.tokenizer();
      int longest = longest(loaded, output);
      Encoded encoded =
          Examples.encode(
              rows,
              new ExampleEncoder(tokenizer, counted == Counted.all),
              longest,
              OverlongPolicy.TRUNCATE);
      encoded.warnings().forEach(output::note);
      EvalMetrics metrics =
          TrainingLoop.evaluate(
              new CausalTrainee(loaded.model(), loaded.adapters()),
              encoded.examples(),
              true,
              longest,
              tokenizer.padId().orElse(tokenizer.eosId().orElse(0)),
              0);
      output.table(
          List.of(
              Output.row()
                  .put("loss", metrics.loss())
                  .put("perplexity", metrics.perplexity())
                  .put("token_accuracy", metrics.tokenAccuracy())
                  .put("tokens", metrics.tokens())
                  .put("examples", encoded.examples().size())),
          json);
    }
    return 0;
  }
}
