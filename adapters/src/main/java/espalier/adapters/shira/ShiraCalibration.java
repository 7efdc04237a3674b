package espalier.adapters.shira;

import espalier.adapters.ConfigException;
import espalier.adapters.ModelFacts;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Resolution;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.AveragedGradients;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.nn.Adaptable;
import espalier.nn.Init;
import espalier.nn.Layer;
import java.util.Map;
import java.util.function.LongSupplier;
import org.bytedeco.pytorch.Tensor;

/**
 * Chooses the entries of the masks {@code gradient} and {@code snip} by batches of the task, before
 * the adapter is attached.
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
 * try (Prepared prepared = ShiraCalibration.run(model, facts, config, options, batches)) {
 *   var init = InitSource.seeded(0).withPrepared(prepared.values());
 *   adapters.attach("default", config, AttachOptions.of(init));
 * }
 * }</pre>
 *
 * <p>Of each layer the K positions alone are kept; its gradient is freed as soon as they are found.
 */
public final class ShiraCalibration {

  private ShiraCalibration() {}

  /**
   * Chooses the entries of each target. The model's weights stay frozen, its adapters are off and
   * it is in evaluation mode meanwhile.
   *
   * @param batches runs forward and backward of the loss, summed over its tokens, of each
   *     calibration batch, and returns the number of these tokens; called once a group of layers
   * @throws ConfigException if the config's mask needs no gradient, or a layer has fewer entries
   *     than are to be trained
   * @throws UnsupportedAdapterException if a target is of a kind that the method does not adapt
   * @throws NotFiniteException if a gradient is not finite
   * @throws IllegalStateException if a target got no gradient, or there were no tokens
   */
  public static Prepared run(
      Layer model,
      ModelFacts facts,
      ShiraConfig config,
      CalibrationOptions options,
      LongSupplier batches) {
    if (!config.mask().needsGradient()) {
      throw new ConfigException(
          "mask_type %s needs no calibration; take gradient or snip, or attach without one"
              .formatted(config.mask().word()));
    }
    Map<String, Adaptable> targets = targets(model, facts, config);
    var prepared = new Prepared();
    try {
      new AveragedGradients("SHiRA", model, options)
          .look(
              targets,
              batches,
              (path, layer, gradient) -> {
                Tensor positions = positions(config, path, layer, gradient);
                options.ranks().broadcast(positions);
                prepared.put(path, MaskChoice.POSITIONS, positions);
              });
      return prepared;
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
  }

  /**
   * Refuses what {@link #run} would refuse of the targets, for callers who have batches to make
   * first.
   *
   * @throws UnsupportedAdapterException if a target is of a kind that the method does not adapt
   * @throws ConfigException if a layer has fewer entries than are to be trained
   */
  public static void check(Layer model, ModelFacts facts, ShiraConfig config) {
    targets(model, facts, config);
  }

  private static Map<String, Adaptable> targets(Layer model, ModelFacts facts, ShiraConfig config) {
    Map<String, Adaptable> targets = Resolution.of(model, facts, config).adaptables(model);
    targets.forEach((path, layer) -> config.count(config.linear(layer, path), path));
    return targets;
  }

  private static Tensor positions(
      ShiraConfig config, String path, Adaptable layer, Tensor gradient) {
    if (!gradient.isfinite().all().item_bool()) {
      throw new NotFiniteException(
          "the gradient of %s has NaN or infinite entries; look for the batch that gives a loss that is not finite"
              .formatted(path));
    }
    var linear = config.linear(layer, path);
    Init given = Init.blank().withPrepared(Map.of(MaskChoice.GRADIENT, gradient));
    return new MaskChoice(config, linear, path, given).positions(config.count(linear, path));
  }
}
