package espalier.recipes;

import espalier.adapters.SaveStart;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.text.Example;
import espalier.text.Tokenizer;
import espalier.training.Encoded;
import espalier.training.EvalMetrics;
import espalier.training.Optimizer;
import espalier.training.ParameterGroup;
import espalier.training.RunHistory;
import espalier.training.RunListener;
import espalier.training.RunLog;
import espalier.training.Sample;
import espalier.training.TensorBoardWriter;
import espalier.training.TrainingLoop;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Does what a recipe says. The run's folder afterwards holds the adapter as PEFT reads it, the
 * checkpoints, the metrics, a picture of the loss and a page about the run.
 *
 * <pre>{@code
 * try (var run = TrainingRun.open(RecipeFile.read(path, List.of()), listener, System.err::println)) {
 *   run.train(false);
 * }
 * }</pre>
 */
public final class TrainingRun implements AutoCloseable {

  /** The name of the adapter that a recipe trains. */
  public static final String ADAPTER = "default";

  private static final String METRICS = "metrics.jsonl";

  private final Recipe recipe;
  private final PretrainedModel model;
  private final RunFolder folder;
  private final RunListener listener;
  private final Encoded train;
  private final List<Example> evaluation;
  private final CausalTrainee trainee;
  private final @Nullable Collective ranks;
  private List<Sample> samples = List.of();

  TrainingRun(
      Recipe recipe,
      PretrainedModel model,
      RunListener listener,
      Encoded train,
      List<Example> evaluation,
      @Nullable Collective ranks) {
    this.recipe = recipe;
    this.model = model;
    this.listener = listener;
    this.train = train;
    this.evaluation = evaluation;
    this.ranks = ranks;
    this.folder = new RunFolder(recipe.outputFolder(), ranks);
    this.trainee = new CausalTrainee(model.model(), model.adapters());
  }

  /**
   * Reads the data, loads the model and puts the adapter on it.
   *
   * @param listener told what the run does
   * @param progress told, line by line, what is fetched
   */
  public static TrainingRun open(Recipe recipe, RunListener listener, Consumer<String> progress) {
    return open(recipe, listener, progress, null);
  }

  /**
   * The same as one of the ranks that compute the model together, as {@code
   * training.tensor_parallel} says. All of them open the same recipe and train; rank 0 alone writes
   * and tells.
   *
   * @param listener told what the run does, on rank 0
   * @param progress told, line by line, what is fetched, on rank 0
   * @param ranks who they are, and which of them this process is; or null for one that is alone
   * @throws RecipeException if they are not as many as the recipe says
   * @throws espalier.adapters.UnsupportedAdapterException if something of the recipe does not exist
   *     for layers that are split
   */
  public static TrainingRun open(
      Recipe recipe, RunListener listener, Consumer<String> progress, @Nullable Collective ranks) {
    RecipeRanks.require(recipe, ranks);
    Consumer<String> told = RecipeRanks.leads(ranks) ? progress : _ -> {};
    return new RunOpening(RecipeRanks.heard(listener, ranks), told, ranks)
        .open(recipe, recipe.data().maxLength() == 0);
  }

  /** The same for a recipe whose max_length no user gave, and which may be less therefore. */
  static TrainingRun openFitting(Recipe recipe, RunListener listener, Consumer<String> progress) {
    return new RunOpening(listener, progress, null).open(recipe, true);
  }

  /** The recipe with a length that fits the model. */
  Recipe recipe() {
    return recipe;
  }

  /** The model with its adapter. */
  public PretrainedModel model() {
    return model;
  }

  /** The examples that are trained on. */
  public Encoded data() {
    return train;
  }

  /**
   * Saves the adapter as it starts, to be trained from with {@code adapter: {from: DIR}}. What the
   * start took out of the base lies beside it, so that loading takes it out again.
   */
  public void saveStart(Path to) {
    model.saveAdapter(ADAPTER, to, SaveStart.AS_TRAINED);
  }

  /** Answers to show on the run's page, before and after. */
  public void samples(List<Sample> shown) {
    samples = List.copyOf(shown);
  }

  /** Loss and accuracy over the evaluation examples as the model is now. */
  public EvalMetrics evaluate() {
    return TrainingLoop.evaluate(
        trainee, evaluation, recipe.data().packing(), recipe.data().maxLength(), padId(), 0);
  }

  private int padId() {
    return padId(model);
  }

  static int padId(PretrainedModel model) {
    Tokenizer tokenizer = model.tokenizer();
    return tokenizer.padId().orElse(tokenizer.eosId().orElse(0));
  }

  /**
   * Trains to the end, or goes on where a killed run stopped.
   *
   * @param resume whether to go on with what is in the folder
   * @return the state at the end
   * @throws RecipeException if the folder holds a run and {@code resume} is false, or that run was
   *     of another recipe
   */
  public TrainingState train(boolean resume) {
    RunPlan plan = RunPlan.of(recipe, train.examples(), padId(), listener::message);
    folder.claim(recipe, resume);
    try (Optimizer optimizer = optimizer()) {
      if (RecipeRanks.leads(ranks)) {
        report(optimizer.groups());
      }
      int examples = train.examples().size();
      TrainingState start =
          resume ? folder.resume(model, ADAPTER, optimizer, examples) : TrainingState.START;
      TrainingState end = run(plan, optimizer, start, examples);
      finish(end);
      return end;
    }
  }

  private TrainingState run(RunPlan plan, Optimizer optimizer, TrainingState start, int examples) {
    if (!RecipeRanks.leads(ranks)) {
      return loop(plan, optimizer, listener, examples).run(start);
    }
    Path metrics = folder.file(METRICS);
    boolean fresh = start.step() == 0;
    try (RunLog log = fresh ? RunLog.create(metrics) : RunLog.resume(metrics, start.step());
        TensorBoardWriter board =
            fresh
                ? TensorBoardWriter.create(folder.path())
                : TensorBoardWriter.resume(folder.path(), start.step())) {
      RunListener all = RunListener.all(List.of(log, board, listener));
      return loop(plan, optimizer, all, examples).run(start);
    } catch (IOException e) {
      throw new CheckpointException(
          "the run's record in %s can not be written: %s".formatted(folder.path(), e), e);
    }
  }

  private TrainingLoop loop(RunPlan plan, Optimizer optimizer, RunListener told, int examples) {
    return new TrainingLoop(
        trainee,
        optimizer,
        recipe.training().maxGradNorm(),
        plan.batches(),
        evaluation,
        plan.config(),
        told,
        new TrainingLoop.Checkpoints() {
          @Override
          public void save(TrainingState state) {
            folder.save(model, ADAPTER, optimizer, state, examples);
            folder.keep(recipe.training().keep());
            listener.saved(folder.path());
          }

          @Override
          public void best(TrainingState state) {
            if (recipe.training().earlyStopping() != null) {
              folder.best(model, ADAPTER);
            }
          }
        });
  }

  private Optimizer optimizer() {
    var settings = recipe.training();
    return Optimizers.of(
        settings.optimizer(),
        settings.learningRate(),
        settings.weightDecay(),
        model.adapters(),
        listener::message);
  }

  private void report(List<ParameterGroup> groups) {
    AtomicFiles.write(folder.file("optimizer_groups.json"), GroupReport.json(groups));
    if (groups.size() > 1) {
      GroupReport.lines(groups).forEach(listener::message);
    }
  }

  private void finish(TrainingState end) {
    if (recipe.training().earlyStopping() != null) {
      folder.restoreBest(model, ADAPTER);
    }
    model.saveAdapter(ADAPTER, folder.path());
    folder.once(() -> page(end));
    listener.saved(folder.path());
  }

  /** Writes the picture, the page and the model card again, such as after samples were added. */
  public void report(TrainingState end) throws IOException {
    new RunPage(recipe, model, folder, samples).write(train.examples().size(), end);
  }

  private void page(TrainingState end) {
    try {
      report(end);
    } catch (IOException e) {
      throw new CheckpointException(
          "the run's page in %s can not be written: %s".formatted(folder.path(), e), e);
    }
  }

  /**
   * What the run has done since it began, also before it was resumed; empty before it is trained.
   *
   * @throws CheckpointException if its log can not be read
   */
  public RunHistory history() {
    Path metrics = folder.file(METRICS);
    try {
      return Files.exists(metrics)
          ? RunHistory.read(metrics)
          : new RunHistory(List.of(), List.of());
    } catch (IOException e) {
      throw new CheckpointException("%s can not be read: %s".formatted(metrics, e), e);
    }
  }

  /** The run's folder. */
  public Path folder() {
    return folder.path();
  }

  /** Where PEFT finds the adapter's tensors. */
  public Path adapterFile() {
    return folder.file(AdapterFiles.TENSORS);
  }

  @Override
  public void close() {
    model.close();
  }
}
