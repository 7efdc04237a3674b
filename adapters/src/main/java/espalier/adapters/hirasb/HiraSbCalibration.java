package espalier.adapters.hirasb;

import espalier.adapters.ModelFacts;
import espalier.adapters.Resolution;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.AveragedGradients;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.nn.Adaptable;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Takes the bases of HiRA-SB from batches of the task, before the adapter is attached.
 *
 * <pre>{@code
 * LongSupplier batches = () -> {
 *   long tokens = 0;
 *   for (Batch batch : calibration) {
 *     try (var _ = Scope.graph()) {
 *       lossSum(model, batch).backward();       // summed over the tokens, not their mean
 *     }
 *     tokens += batch.tokens();
 *   }
 *   return tokens;
 * };
 * try (Prepared prepared = HiraSbCalibration.run(model, facts, config, options, batches)) {
 *   var init = InitSource.seeded(0).withPrepared(prepared.values());
 *   adapters.attach("default", config, AttachOptions.of(init));
 * }
 * }</pre>
 *
 * <p>The averaged gradients of all targets may be as large as the model in float32. If they exceed
 * the memory that the config allows, the layers are taken in groups and the batches are run once a
 * group; each gradient is freed as soon as its bases are found.
 */
public final class HiraSbCalibration {

  private final Layer model;
  private final HiraSbConfig config;
  private final CalibrationOptions options;
  private final Prepared prepared = new Prepared();
  private final List<String> silent = new ArrayList<>();

  private HiraSbCalibration(Layer model, HiraSbConfig config, CalibrationOptions options) {
    this.model = model;
    this.config = config;
    this.options = options;
  }

  /**
   * Finds B, A and R of each target. The model's weights stay frozen, its adapters are off and it
   * is in evaluation mode meanwhile.
   *
   * @param batches runs forward and backward of the loss, summed over its tokens, of each
   *     calibration batch, and returns the number of these tokens; called once a group of layers
   * @throws UnsupportedAdapterException if a target is of a kind that the method does not adapt
   * @throws espalier.adapters.NotFiniteException if a gradient is not finite
   * @throws IllegalStateException if a target got no gradient, or there were no tokens
   */
  public static Prepared run(
      Layer model,
      ModelFacts facts,
      HiraSbConfig config,
      CalibrationOptions options,
      LongSupplier batches) {
    var calibration = new HiraSbCalibration(model, config, options);
    try {
      calibration.run(targets(model, facts, config), batches);
      return calibration.prepared;
    } catch (RuntimeException e) {
      calibration.prepared.close();
      throw e;
    }
  }

  /**
   * Refuses what {@link #run} would refuse of the targets, for callers who have batches to make
   * first.
   *
   * @throws UnsupportedAdapterException if a target is of a kind that the method does not adapt
   * @throws espalier.adapters.ConfigException if a target's weight is too small for its rank
   */
  public static void check(Layer model, ModelFacts facts, HiraSbConfig config) {
    targets(model, facts, config);
  }

  private static Map<String, Adaptable> targets(
      Layer model, ModelFacts facts, HiraSbConfig config) {
    Map<String, Adaptable> targets = Resolution.of(model, facts, config).adaptables(model);
    try (var _ = new PointerScope()) {
      targets.forEach((path, layer) -> config.rankOn(layer, path));
    }
    return targets;
  }

  private void run(Map<String, Adaptable> targets, LongSupplier batches) {
    long memory = config.start().memory();
    var gradients =
        new AveragedGradients("HiRA-SB", model, memory > 0 ? options.withMemory(memory) : options);
    gradients.look(targets, batches, this::start);
    if (!silent.isEmpty()) {
      String where =
          silent.size() == 1
              ? silent.getFirst()
              : "%s and %d more".formatted(silent.getFirst(), silent.size() - 1);
      options.warnings().accept("%s: %s".formatted(where, HiraSbStart.RANDOM));
    }
  }

  private void start(String path, Adaptable layer, Tensor gradient) {
    Tensor w = HiraSbAdapter.matrix(layer);
    int rank = config.rankOn(layer, path);
    HiraSbStart start = HiraSbStart.of(config, w, rank, path, gradient);
    if (start.random()) {
      silent.add(path);
    }
    put(path, HiraSbAdapter.B, start.bases().b());
    put(path, HiraSbAdapter.A, start.bases().a());
    put(path, HiraSbAdapter.R, start.r());
  }

  private void put(String path, String name, Tensor value) {
    Tensor whole = value.contiguous();
    options.ranks().broadcast(whole);
    prepared.put(path, name, whole);
  }
}
