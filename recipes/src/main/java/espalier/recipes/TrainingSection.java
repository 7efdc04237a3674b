package espalier.recipes;

import espalier.training.Schedule;
import espalier.training.TrainingConfig.EarlyStopping;
import espalier.training.Warmup;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * How to go about it.
 *
 * @param epochs passes over the data; read where {@code steps} is 0
 * @param steps optimizer steps, or 0 to go by {@code epochs}
 * @param batchSize examples of a micro-batch
 * @param gradientAccumulation micro-batches of a step
 * @param learningRate of the first parameter group, before the schedule
 * @param optimizer who takes the steps
 * @param schedule constant, linear, cosine, cosine-with-min, inverse-sqrt or polynomial
 * @param warmup a part of the run in [0, 1), or steps from 1 on
 * @param weightDecay decoupled
 * @param maxGradNorm norm that the gradients are clipped to; 0 for none
 * @param gradientCheckpointing whether blocks run again in backward instead of being kept
 * @param seed of the adapter's first values, the order of the data and dropout
 * @param evaluateEvery steps between evaluations; 0 for the last one only
 * @param saveEvery steps between checkpoints; 0 for the last one only
 * @param keep checkpoints that are kept, the newest; 0 for all
 * @param earlyStopping when to end early, or null
 * @param threads of libtorch; 0 for one a core, which ranks share out
 * @param tensorParallel processes of this machine that compute the model together, each with a part
 *     of the large layers; 1 for one process that has all
 */
public record TrainingSection(
    @Doc("Passes over the data, where steps is left out") double epochs,
    @Doc("Optimizer steps; goes before epochs") int steps,
    @Doc("Examples of a micro-batch") int batchSize,
    @Doc("Micro-batches of a step") int gradientAccumulation,
    @Doc("The learning rate before the schedule") double learningRate,
    @Doc("The name of an optimizer, or an object with its name as type and its settings")
        OptimizerSection optimizer,
    @Doc("constant, linear, cosine, cosine-with-min, inverse-sqrt or polynomial") String schedule,
    @Doc("A part of the run below 1, or a number of steps") double warmup,
    @Doc("Decoupled weight decay") double weightDecay,
    @Doc("Norm that the gradients are clipped to; 0 for none") double maxGradNorm,
    @Doc("Run blocks again in backward instead of keeping them") boolean gradientCheckpointing,
    @Doc("Seed of first values, data order and dropout") long seed,
    @Doc("Steps between evaluations; 0 for the last one only") int evaluateEvery,
    @Doc("Steps between checkpoints; 0 for the last one only") int saveEvery,
    @Doc("Checkpoints that are kept, the newest; 0 for all") int keep,
    @Doc("End when the evaluation loss no longer falls") @Nullable EarlyStopping earlyStopping,
    @Doc("Threads of libtorch; 0 for one a core") int threads,
    @Doc("Processes that compute the model together, each with a part of its large layers")
        int tensorParallel) {

  /** Passes over the data where a recipe says neither how many nor how many steps. */
  static final double EPOCHS = 1;

  /** Checks what the schema can not. */
  public TrainingSection {
    if (batchSize < 1 || gradientAccumulation < 1) {
      throw new RecipeException(
          "training.batch_size is %d and gradient_accumulation is %d but both must be 1 or more"
              .formatted(batchSize, gradientAccumulation));
    }
    if (!(learningRate > 0 && Double.isFinite(learningRate))) {
      throw new RecipeException(
          "training.learning_rate is %s but must be above 0; 2e-4 is usual for LoRA"
              .formatted(learningRate));
    }
    if (steps < 0 || (steps == 0 && !(epochs > 0))) {
      throw new RecipeException(
          "training.steps is %d and epochs is %s but one of them must be above 0"
              .formatted(steps, epochs));
    }
    if (keep < 0 || threads < 0) {
      throw new RecipeException(
          "training.keep is %d and threads is %d but neither may be negative"
              .formatted(keep, threads));
    }
    if (tensorParallel < 1) {
      throw new RecipeException(
          "training.tensor_parallel is %d but must be 1 or more; 1 keeps the model in one process"
              .formatted(tensorParallel));
    }
  }

  static TrainingSection of(Section in) {
    if (in.has("steps") && in.integer("steps", 0) == 0) {
      throw new RecipeException(
          "training.steps is 0 but must be 1 or more; leave it out to go by epochs");
    }
    Section stopping = in.section("early_stopping");
    return new TrainingSection(
        in.number("epochs", EPOCHS),
        in.integer("steps", 0),
        in.integer("batch_size", 8),
        in.integer("gradient_accumulation", 1),
        in.number("learning_rate", 2e-4),
        OptimizerSection.of(in),
        in.has("schedule") ? in.string("schedule", "cosine") : "cosine",
        in.number("warmup", 0.03),
        in.number("weight_decay", 0),
        in.number("max_grad_norm", 1),
        in.flag("gradient_checkpointing", false),
        in.whole("seed", 42),
        in.integer("evaluate_every", 100),
        in.integer("save_every", 100),
        in.integer("keep", 2),
        in.has("early_stopping")
            ? new EarlyStopping(stopping.integer("patience", 3), stopping.number("min_delta", 0))
            : null,
        in.integer("threads", 0),
        in.integer("tensor_parallel", 1));
  }

  /** What a recipe without a training section has. */
  static TrainingSection defaults() {
    return of(new Section(JsonNodeFactory.instance.objectNode(), "training"));
  }

  /** The schedule with its warm-up. */
  public Schedule courseOfRate() {
    return Schedule.of(schedule, Warmup.of(warmup));
  }
}
