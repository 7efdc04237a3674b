package espalier.recipes;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AttachOptions;
import espalier.adapters.Attached;
import espalier.adapters.InitSource;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.hirasb.HiraSbCalibration;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.starts.Corda;
import espalier.adapters.lora.starts.Eva;
import espalier.adapters.lora.starts.EvaOptions;
import espalier.adapters.lora.starts.LoraGa;
import espalier.adapters.shira.ShiraCalibration;
import espalier.adapters.shira.ShiraConfig;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.SafetensorsCache;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.RandomState;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.bytedeco.pytorch.Tensor;

/** The starts that look at the recipe's data before the adapter is put on the model. */
final class DataStart {

  private DataStart() {}

  /** Whether a config has such a start. */
  static boolean needed(AdapterConfig config) {
    return switch (config) {
      case HiraSbConfig _ -> true;
      case ShiraConfig shira -> shira.mask().needsGradient();
      case LoraConfig lora ->
          switch (lora.init()) {
            case LoraInit.Corda _, LoraInit.Eva _, LoraInit.LoraGa _ -> true;
            default -> false;
          };
      default -> false;
    };
  }

  /**
   * Refuses targets that a start from gradients could not adapt, before any data is made ready for
   * it.
   *
   * @throws espalier.adapters.ConfigException if a layer is too small for its rank
   * @throws espalier.adapters.UnsupportedAdapterException if a target is of another kind
   */
  static void check(PretrainedModel model, AdapterConfig config) {
    var facts = model.adapters().facts();
    switch (config) {
      case HiraSbConfig hirasb -> HiraSbCalibration.check(model.model(), facts, hirasb);
      case ShiraConfig shira when shira.mask().needsGradient() ->
          ShiraCalibration.check(model.model(), facts, shira);
      default -> {}
    }
  }

  /**
   * Attaches an adapter of the shapes that the start would give it, without looking at data: its
   * values are those of no start.
   */
  static Attached attachWithoutData(PretrainedModel model, AdapterConfig config) {
    AdapterConfig plain =
        config instanceof LoraConfig lora
            ? lora.toBuilder().init(new LoraInit.Uniform()).build()
            : config;
    return model
        .adapters()
        .attach(TrainingRun.ADAPTER, plain, AttachOptions.of(InitSource.blank()));
  }

  /** How many examples the start looks at: what the recipe says, or its usual number. */
  static int examples(AdapterConfig config, Recipe recipe) {
    int asked = recipe.data().startExamples();
    if (asked > 0) {
      return asked;
    }
    return switch (config) {
      case HiraSbConfig hirasb ->
          hirasb.start().calibrationBatches() * recipe.training().batchSize();
      case ShiraConfig shira ->
          shira.options().calibrationBatches() * recipe.training().batchSize();
      case LoraConfig lora when lora.init() instanceof LoraInit.LoraGa -> StartData.BACKWARD;
      default -> StartData.FORWARD;
    };
  }

  /** Runs the model over examples of the recipe as the start asks, and attaches the adapter. */
  static Attached attach(
      PretrainedModel model,
      AdapterConfig given,
      Recipe recipe,
      StartData data,
      Consumer<String> progress,
      Consumer<String> warnings) {
    InitSource init = InitSource.seeded(recipe.training().seed());
    var facts = model.adapters().facts();
    var options = CalibrationOptions.defaults().withProgress(progress).withWarnings(warnings);
    if (given instanceof HiraSbConfig config) {
      warnOfFew(config.start().calibrationBatches(), recipe, data, warnings);
      try (Prepared found =
          HiraSbCalibration.run(model.model(), facts, config, options, data::summedBackward)) {
        return attach(model, config, init, found);
      }
    }
    if (given instanceof ShiraConfig config) {
      warnOfFew(config.options().calibrationBatches(), recipe, data, warnings);
      try (Prepared found =
          ShiraCalibration.run(model.model(), facts, config, options, data::summedBackward)) {
        return attach(model, config, init, found);
      }
    }
    return attach(model, (LoraConfig) given, recipe, init, data, progress, warnings);
  }

  private static void warnOfFew(
      int batches, Recipe recipe, StartData data, Consumer<String> warnings) {
    if (recipe.data().startExamples() == 0 && data.batches() < batches) {
      warnings.accept(
          "calibration_batches is %d but the data has %d; these are taken"
              .formatted(batches, data.batches()));
    }
  }

  private static Attached attach(
      PretrainedModel model,
      LoraConfig config,
      Recipe recipe,
      InitSource init,
      StartData data,
      Consumer<String> progress,
      Consumer<String> warnings) {
    var facts = model.adapters().facts();
    return switch (config.init()) {
      case LoraInit.Corda _ -> {
        progress.accept("CorDA: looking at the inputs of %d examples".formatted(data.size()));
        var cache = new SafetensorsCache(Path.of(""));
        try (Prepared found =
            Corda.preprocess(model.model(), facts, config, data::oneByOne, cache)) {
          yield attach(model, config, init, found);
        }
      }
      case LoraInit.LoraGa _ -> {
        progress.accept("LoRA-GA: summing gradients of %d examples".formatted(data.size()));
        RandomState.seed(recipe.training().seed());
        try (Prepared found =
            LoraGa.estimateGradients(model.model(), facts, config, data::backward)) {
          yield attach(model, config, init, found);
        }
      }
      case LoraInit.Eva eva -> {
        progress.accept("EVA: looking at the inputs of %d examples".formatted(data.size()));
        var options = EvaOptions.defaults().withProgress(progress).withWarnings(warnings);
        try (Prepared found =
            Eva.compute(model.model(), facts, config, data.batches(eva), options)) {
          LoraConfig shared =
              Eva.redistributed(model.model(), facts, config, Eva.components(found));
          yield attach(model, shared, init, found);
        }
      }
      default -> throw new IllegalArgumentException(config.init() + " needs no data");
    };
  }

  private static Attached attach(
      PretrainedModel model, AdapterConfig config, InitSource init, Prepared found) {
    return model
        .adapters()
        .attach(TrainingRun.ADAPTER, config, AttachOptions.of(init.withPrepared(found.values())));
  }

  /**
   * Attaches the adapter as a run that is gone on with had started it, without looking at data
   * again, or nothing if the run has no checkpoint.
   */
  static Optional<Attached> again(PretrainedModel model, Recipe recipe, RunFolder folder) {
    folder.once(folder::recover);
    Path checkpoint = folder.newest();
    if (checkpoint == null) {
      return Optional.empty();
    }
    AdapterConfig config = AdapterFiles.readConfig(checkpoint, model.catalog()).config();
    AdapterConfig trained = config.withHead(config.head().withInferenceMode(false));
    try (var _ = Scope.open()) {
      // LoRA must take out of the base what it took out, the others keep all in their file.
      InitSource init =
          config instanceof LoraConfig
              ? InitSource.seeded(recipe.training().seed())
              : InitSource.blank();
      Map<String, Tensor> first = AdapterFiles.initial(checkpoint);
      return Optional.of(
          model
              .adapters()
              .attach(TrainingRun.ADAPTER, trained, AttachOptions.of(init.withInitial(first))));
    }
  }
}
