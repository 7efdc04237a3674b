package espalier.recipes;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Attached;
import espalier.adapters.LoadOptions;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.nn.Native;
import espalier.text.Example;
import espalier.text.ExampleEncoder;
import espalier.training.DataFormat;
import espalier.training.Dataset;
import espalier.training.Encoded;
import espalier.training.Examples;
import espalier.training.OverlongPolicy;
import espalier.training.Row;
import espalier.training.RunListener;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Reads a recipe's data, loads its model and puts the adapter on it. */
final class RunOpening {

  private final RunListener listener;
  private final Consumer<String> progress;
  private final @Nullable Collective ranks;

  /**
   * How runs are to be opened.
   *
   * @param listener told what the run does
   * @param progress told, line by line, what is fetched
   * @param ranks who compute the model together, or null for one that is alone
   */
  RunOpening(RunListener listener, Consumer<String> progress, @Nullable Collective ranks) {
    this.listener = listener;
    this.progress = progress;
    this.ranks = ranks;
  }

  /**
   * Opens a run.
   *
   * @param fitting whether max_length may be less than it says, because no user gave it
   */
  TrainingRun open(Recipe asked, boolean fitting) {
    Recipe recipe = asked;
    // The adapter's fields and the data first: they are quick to read, and most mistakes are there.
    AdapterSource named = recipe.from();
    Path from = named == null ? null : named.resolve(progress);
    if (from == null) {
      AdapterCatalog.Read _ = RecipeAdapter.read(recipe.adapter());
    }
    if (RecipeRanks.leads(ranks)) {
      AtomicFiles.requireFolder(recipe.outputFolder());
    }
    var data = recipe.data();
    DataFormat format = data.format() == null ? null : DataFormat.of(data.format());
    List<Row> rows = new ArrayList<>(Dataset.read(data.train(), format));
    List<Row> evaluationRows =
        data.eval().isEmpty()
            ? heldOut(rows, data.evalFraction())
            : Dataset.read(data.eval(), format);
    int threads = RecipeRanks.threads(recipe, ranks);
    if (threads > 0) {
      Native.threads(threads);
    }
    PretrainedModel model =
        PretrainedModel.load(
            recipe.model(), recipe.dtype().type(), recipe.quantize().quantisation(), progress);
    try {
      if (from != null) {
        model.adoptTokens(from);
      }
      recipe = NewTokens.add(recipe, model, listener::message);
      if (from == null) {
        DataStart.check(model, RecipeAdapter.read(recipe.adapter()).config());
      }
      model.model().gradientCheckpointing(recipe.training().gradientCheckpointing());
      var encoder =
          new ExampleEncoder(model.tokenizer(), data.trainOn() == DataSection.TrainOn.ALL);
      var policy =
          data.overlong() == DataSection.Overlong.ERROR
              ? OverlongPolicy.ERROR
              : OverlongPolicy.TRUNCATE;
      int longest = longest(data.maxLength(), fitting, model);
      recipe = recipe.withMaxLength(longest);
      Encoded train = Examples.encode(rows, encoder, longest, policy);
      train.warnings().forEach(listener::message);
      List<Example> evaluation = List.of();
      if (!evaluationRows.isEmpty()) {
        Encoded encoded = Examples.encode(evaluationRows, encoder, longest, policy);
        encoded.warnings().forEach(warning -> listener.message("data.eval: " + warning));
        evaluation = encoded.examples();
      }
      if (ranks != null) {
        RecipeRanks.split(model.model(), recipe, ranks);
      }
      attach(recipe, from, model, train.examples());
      return new TrainingRun(recipe, model, listener, train, evaluation, ranks);
    } catch (RuntimeException | Error e) {
      model.close();
      throw e;
    }
  }

  private int longest(int given, boolean fitting, PretrainedModel model) {
    int limit = model.model().config().maxPositions();
    int asked = given == 0 ? DataSection.USUAL_LENGTH : given;
    if (limit > 0 && asked > limit) {
      if (fitting) {
        listener.message(
            "max_length is %d, since the model reads no more tokens than that; %d is usual here"
                .formatted(limit, asked));
        return limit;
      }
      throw new RecipeException(
          "data.max_length is %d but the model reads %d tokens at most; lower max_length"
              .formatted(asked, limit));
    }
    return asked;
  }

  // The rows at equal distances, so that the choice does not depend on a random stream.
  private static List<Row> heldOut(List<Row> rows, double fraction) {
    if (!(fraction >= 0 && fraction < 1)) {
      throw new RecipeException(
          "data.eval_fraction is %s but must lie in [0, 1); 0.05 is usual".formatted(fraction));
    }
    int count = (int) Math.round(fraction * rows.size());
    var held = new ArrayList<Row>();
    for (int i = count - 1; i >= 0; i--) {
      held.add(rows.remove((int) ((long) i * rows.size() / count)));
    }
    return held.reversed();
  }

  private void attach(
      Recipe recipe, @Nullable Path from, PretrainedModel model, List<Example> examples) {
    if (from != null) {
      model
          .loadAdapter(TrainingRun.ADAPTER, from, LoadOptions.defaults().withTrainable(true))
          .warnings()
          .forEach(listener::message);
      return;
    }
    AdapterCatalog.Read read = RecipeAdapter.read(recipe.adapter());
    read.warnings().forEach(listener::message);
    RecipeRanks.requireWithoutData(read.config(), recipe, ranks);
    try (var avoided = AvoidedEntries.of(read.config(), model, progress)) {
      AdapterConfig config = avoided.config(read.config());
      Attached attached =
          DataStart.needed(config)
              ? DataStart.again(model, recipe, new RunFolder(recipe.outputFolder(), ranks))
                  .orElseGet(() -> lookAndAttach(recipe, model, config, examples))
              : model.attach(TrainingRun.ADAPTER, config, recipe.training().seed());
      attached.warnings().stream()
          .filter(warning -> !avoided.named(warning))
          .forEach(listener::message);
    }
  }

  private Attached lookAndAttach(
      Recipe recipe, PretrainedModel model, AdapterConfig config, List<Example> examples) {
    var trainee = new CausalTrainee(model.model(), model.adapters());
    var data =
        new StartData(
            model.model(),
            trainee,
            recipe,
            examples,
            TrainingRun.padId(model),
            DataStart.examples(config, recipe));
    return DataStart.attach(model, config, recipe, data, progress, listener::message);
  }
}
