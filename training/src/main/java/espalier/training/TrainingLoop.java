package espalier.training;

import espalier.nn.Collective;
import espalier.nn.RandomState;
import espalier.text.Example;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;

/** A whole run: steps, evaluations and checkpoints in their order. */
public final class TrainingLoop {

  /** Writes checkpoints. Each is whole or not there. */
  public interface Checkpoints {

    /** Saves the run as it is after {@code state.step()} steps. */
    void save(TrainingState state);

    /** Is told that the adapter as it is now is the best so far. */
    default void best(TrainingState state) {}
  }

  private final Trainee model;
  private final Trainer trainer;
  private final Optimizer optimizer;
  private final BatchPlan plan;
  private final List<Example> evaluation;
  private final TrainingConfig config;
  private final RunListener listener;
  private final Checkpoints checkpoints;

  /**
   * A run.
   *
   * @param evaluation examples that are only looked at; may be empty
   */
  public TrainingLoop(
      Trainee model,
      Optimizer optimizer,
      double maxGradNorm,
      BatchPlan plan,
      List<Example> evaluation,
      TrainingConfig config,
      RunListener listener,
      Checkpoints checkpoints) {
    this.model = model;
    this.optimizer = optimizer;
    this.trainer = new Trainer(model, optimizer, maxGradNorm);
    this.plan = plan;
    this.evaluation = List.copyOf(evaluation);
    this.config = config;
    this.listener = listener;
    this.checkpoints = checkpoints;
  }

  /**
   * Runs from {@code start} to the end.
   *
   * @return the state at the end; fewer steps than asked for if it stopped early
   */
  public TrainingState run(TrainingState start) {
    TrainingState state = start;
    if (state.step() == 0 && !evaluation.isEmpty()) {
      listener.eval(evaluate(0));
    }
    while (state.step() < config.steps() && !exhausted(state)) {
      state = step(state).stepped();
      boolean last = state.step() == config.steps();
      if (!evaluation.isEmpty() && (last || due(state.step(), config.evaluateEvery()))) {
        state = evaluated(state);
      }
      if (last || due(state.step(), config.saveEvery()) || exhausted(state)) {
        checkpoints.save(state);
      }
    }
    if (exhausted(state)) {
      listener.message(
          "stopped after step %d: %d evaluations without a gain on %.4f"
              .formatted(state.step(), state.withoutGain(), state.bestLoss()));
    }
    return state;
  }

  private boolean exhausted(TrainingState state) {
    var stopping = config.earlyStopping();
    return stopping != null && state.withoutGain() >= stopping.patience();
  }

  private static boolean due(int step, int every) {
    return every > 0 && step % every == 0;
  }

  private TrainingState step(TrainingState state) {
    long began = System.nanoTime();
    int step = state.step();
    List<Batch> batches = plan.microBatches(step).stream().map(this::batch).toList();
    // Seeded anew each step, so that a resumed run draws the masks that it would have drawn.
    RandomState.seed(config.seed() * 1_000_003 + step);
    model.train(true);
    double factor = config.schedule().factor(step, config.steps());
    Trainer.Step done;
    try {
      done = trainer.step(batches, factor);
    } catch (DivergedException e) {
      throw new DivergedException("step %d: %s".formatted(step + 1, e.getMessage()));
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    long real = batches.stream().mapToLong(Batch::realTokens).sum();
    listener.step(
        new StepMetrics(
            step + 1,
            config.steps(),
            done.loss(),
            optimizer.learningRate() * factor,
            done.gradNorm(),
            done.tokens(),
            real / seconds,
            Memory.peakBytes()));
    return state;
  }

  private TrainingState evaluated(TrainingState state) {
    EvalMetrics metrics = evaluate(state.step());
    listener.eval(metrics);
    var stopping = config.earlyStopping();
    TrainingState next =
        state.evaluated(metrics.loss(), stopping == null ? 0 : stopping.minDelta());
    if (next.withoutGain() == 0) {
      checkpoints.best(next);
    }
    return next;
  }

  /** Loss and accuracy over the evaluation examples as the model is now. */
  public EvalMetrics evaluate(int step) {
    return evaluate(model, evaluation, config.packing(), config.maxLength(), config.padId(), step);
  }

  /**
   * Loss and accuracy over examples, without changing anything.
   *
   * @param packing whether examples share rows
   * @param maxLength tokens that a row may hold
   */
  public static EvalMetrics evaluate(
      Trainee model, List<Example> examples, boolean packing, int maxLength, int padId, int step) {
    model.train(false);
    double loss = 0;
    long correct = 0;
    long tokens = 0;
    for (List<Example> part : parts(examples, maxLength)) {
      Batch batch = batch(model, part, packing, maxLength, padId);
      if (batch.tokens() == 0) {
        continue;
      }
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        Trainee.Judged judged = model.judge(batch);
        loss += judged.lossSum();
        correct += judged.correct();
        tokens += batch.tokens();
      }
    }
    double mean = loss / Math.max(1, tokens);
    double right = correct / (double) Math.max(1, tokens);
    Collective ranks = model.ranks();
    return ranks == null
        ? new EvalMetrics(step, mean, right, tokens)
        // Ranks that stopped early by numbers of their own would leave the others waiting.
        : new EvalMetrics(step, ranks.agreed(mean), ranks.agreed(right), tokens);
  }

  // About two thousand tokens at a time: enough for full speed, little enough for memory.
  private static List<List<Example>> parts(List<Example> examples, int maxLength) {
    var parts = new ArrayList<List<Example>>();
    var part = new ArrayList<Example>();
    int tokens = 0;
    int limit = Math.max(2048, maxLength);
    for (Example example : examples) {
      if (!part.isEmpty() && tokens + example.length() > limit) {
        parts.add(List.copyOf(part));
        part.clear();
        tokens = 0;
      }
      part.add(example);
      tokens += example.length();
    }
    if (!part.isEmpty()) {
      parts.add(List.copyOf(part));
    }
    return parts;
  }

  private Batch batch(List<Example> examples) {
    return batch(model, examples, config.packing(), config.maxLength(), config.padId());
  }

  private static Batch batch(
      Trainee model, List<Example> examples, boolean packing, int maxLength, int padId) {
    if (!packing) {
      return Batch.padded(examples, padId);
    }
    return model.sharesTokens()
        ? Batch.sharing(examples, maxLength, padId)
        : Batch.packed(examples, maxLength, padId);
  }
}
