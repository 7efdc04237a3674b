package espalier.adapters.hirasb;

import espalier.adapters.ModelFacts;
import espalier.adapters.Resolution;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.FreeMemory;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.WeightGradients;
import espalier.nn.Adaptable;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.LongSupplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

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

  private static Map<String, Adaptable> targets(
      Layer model, ModelFacts facts, HiraSbConfig config) {
    var targets = new LinkedHashMap<String, Adaptable>();
    Resolution resolution = Resolution.of(model, facts, config);
    Map<String, Layer> layers = model.layers();
    var paths = new ArrayList<>(resolution.modules());
    paths.addAll(resolution.parameters());
    for (String path : paths) {
      if (!(layers.get(path) instanceof Adaptable layer)) {
        throw new UnsupportedAdapterException(
            "%s is a %s, which can not be adapted; name the layers in it"
                .formatted(path, Objects.requireNonNull(layers.get(path)).typeName()));
      }
      config.rankOn(layer, path); // refuses what can not be adapted before any work is done
      targets.put(path, layer);
    }
    return targets;
  }

  private void run(Map<String, Adaptable> targets, LongSupplier batches) {
    List<Map<String, Adaptable>> groups = groups(targets);
    boolean training = model.training();
    List<Adaptable> adaptables = new ArrayList<>();
    model.walk(
        (_, layer) -> {
          if (layer instanceof Adaptable adaptable) {
            adaptables.add(adaptable);
          }
        });
    adaptables.forEach(layer -> layer.adapters().disable());
    try {
      model.train(false);
      for (int i = 0; i < groups.size(); i++) {
        options
            .progress()
            .accept(
                groups.size() == 1
                    ? "HiRA-SB: averaging the gradients of %d layers".formatted(targets.size())
                    : "HiRA-SB: averaging the gradients of %d layers, group %d of %d"
                        .formatted(groups.get(i).size(), i + 1, groups.size()));
        group(groups.get(i), batches);
      }
    } finally {
      model.train(training);
      adaptables.forEach(layer -> layer.adapters().enable());
    }
    if (!silent.isEmpty()) {
      String where =
          silent.size() == 1
              ? silent.getFirst()
              : "%s and %d more".formatted(silent.getFirst(), silent.size() - 1);
      options.warnings().accept("%s: %s".formatted(where, HiraSbStart.RANDOM));
    }
  }

  /** The layers in order, as many together as the memory allows and one at least. */
  private List<Map<String, Adaptable>> groups(Map<String, Adaptable> targets) {
    long given = config.start().memory();
    long allowed = given > 0 ? given : FreeMemory.bytes() / 4;
    var groups = new ArrayList<Map<String, Adaptable>>();
    long used = 0;
    for (Map.Entry<String, Adaptable> target : targets.entrySet()) {
      long bytes = Float.BYTES * elements(target.getValue());
      if (groups.isEmpty() || used + bytes > allowed) {
        groups.add(new LinkedHashMap<>());
        used = 0;
      }
      groups.getLast().put(target.getKey(), target.getValue());
      used += bytes;
    }
    return groups;
  }

  private static long elements(Adaptable layer) {
    try (var _ = new PointerScope()) {
      return layer.originalWeight().numel();
    }
  }

  private void group(Map<String, Adaptable> group, LongSupplier batches) {
    try (var gradients = new WeightGradients(group)) {
      long tokens;
      try (var _ = new AutoGradMode(true)) {
        tokens = batches.getAsLong();
      }
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        Tensor all = torch.tensor((double) tokens);
        options.ranks().sum(all);
        double divisor = all.item_double();
        if (!(divisor > 0)) {
          throw new IllegalStateException(
              "the calibration batches have no tokens to learn from; give examples with an answer");
        }
        group.forEach((path, layer) -> start(path, layer, gradients, divisor));
      }
    }
  }

  private void start(String path, Adaptable layer, WeightGradients gradients, double tokens) {
    try (Tensor gradient = gradients.take(path);
        var _ = new PointerScope()) {
      options.ranks().sum(gradient);
      gradient.div_(new Scalar(tokens));
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
  }

  private void put(String path, String name, Tensor value) {
    Tensor whole = value.contiguous();
    options.ranks().broadcast(whole);
    prepared.put(path, name, whole);
  }
}
