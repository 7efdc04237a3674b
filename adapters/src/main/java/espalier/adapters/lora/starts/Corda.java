package espalier.adapters.lora.starts;

import espalier.adapters.ConfigException;
import espalier.adapters.ModelFacts;
import espalier.adapters.NotFiniteException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.SideBySide;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Finds the components that CorDA starts from: the covariance of each layer's inputs while a model
 * runs, and the decomposition of weight times covariance.
 *
 * <p>The files of {@code corda_config} are read if they are there, and written otherwise: the
 * components under {@code cache_file}, the covariances under {@code covariance_file}.
 *
 * @see <a href="https://arxiv.org/abs/2406.05223">CorDA, NeurIPS 2024</a>
 */
public final class Corda {

  /** The name of a layer's covariance [in, in] among what is prepared, where it is kept. */
  public static final String COVARIANCE = "covariance_matrix";

  /** The name of how many calls a covariance is the mean of, among what is prepared. */
  public static final String CALLS = "sample_count";

  private static final System.Logger LOG = System.getLogger("espalier.adapters");

  private static final List<String> COMPONENTS =
      List.of(LoraInit.Corda.VALUES, LoraInit.Corda.LEFT, LoraInit.Corda.RIGHT);

  private Corda() {}

  /**
   * The components of all targets of a model that is run itself.
   *
   * @param runModel runs the model on sample text, one sequence a call; null if a file of the
   *     config is there
   * @param cache where the files of the config are
   * @throws ConfigException if the config's start is not CorDA, or a rank is too high
   * @throws UnsupportedAdapterException if a target is no linear layer
   * @throws IllegalStateException if the model must run and {@code runModel} is null, or a file
   *     belongs to another model
   * @throws NotFiniteException if inputs or covariances are not finite
   */
  public static Prepared preprocess(
      Layer model,
      ModelFacts facts,
      LoraConfig config,
      @Nullable Runnable runModel,
      TensorCache cache) {
    return preprocess(model, facts, config, runModel, cache, model);
  }

  /**
   * The components of all targets of a model, by the inputs of another one with the same paths.
   *
   * @param observed the model that {@code runModel} runs
   */
  public static Prepared preprocess(
      Layer model,
      ModelFacts facts,
      LoraConfig config,
      @Nullable Runnable runModel,
      TensorCache cache,
      Layer observed) {
    if (!(config.init() instanceof LoraInit.Corda corda)) {
      throw new ConfigException(
          "components are for init_lora_weights corda with corda_config but the config starts"
              + " otherwise; set both");
    }
    Map<String, Linear> layers = layers(model, facts, config);
    String file = corda.cacheFile();
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var kept = file == null ? null : cache.read(file).orElse(null);
      if (file != null && kept != null) {
        return Kept.of(kept, file, layers.keySet(), COMPONENTS);
      }
      var covariances = Covariances.of(layers, corda, runModel, cache, observed);
      Prepared prepared = decompose(layers, config, corda, covariances);
      if (file != null) {
        write(prepared, cache, file);
      }
      if (!corda.pruneFields()) {
        covariances.byPath().forEach((path, c) -> prepared.put(path, COVARIANCE, c));
        covariances.calls().forEach((path, n) -> prepared.put(path, CALLS, torch.tensor((long) n)));
      }
      return prepared;
    }
  }

  private static Map<String, Linear> layers(Layer model, ModelFacts facts, LoraConfig config) {
    TargetLayers targets = TargetLayers.of(model, facts, config);
    if (!targets.notLinear().isEmpty()) {
      throw new UnsupportedAdapterException(
          "%s is no linear layer, which init_lora_weights corda is for; take it out of the targets"
              .formatted(targets.notLinear().getFirst()));
    }
    targets
        .linear()
        .forEach(
            (path, layer) -> {
              int r = config.rankAt(path);
              long most = Math.min(layer.in(), layer.out());
              if (r > most) {
                throw new ConfigException(
                    "%s is [%d, %d] and has %d components but r is %d; give it a lower rank in rank_pattern"
                        .formatted(path, layer.out(), layer.in(), most, r));
              }
            });
    return targets.linear();
  }

  private static Prepared decompose(
      Map<String, Linear> layers,
      LoraConfig config,
      LoraInit.Corda corda,
      Covariances covariances) {
    var weights = new LinkedHashMap<String, Tensor>();
    layers.forEach((path, layer) -> weights.put(path, weight(layer, path)));
    var found = new ConcurrentHashMap<String, CordaComponents>();
    var prepared = new Prepared();
    try {
      SideBySide.each(
          covariances.equal(layers.keySet()),
          paths -> {
            Tensor covariance = covariances.at(paths.getFirst()).to(ScalarType.Float);
            var damped = DampedCovariance.of(covariance, paths.getFirst());
            for (String path : paths) {
              if (corda.verbose()) {
                LOG.log(System.Logger.Level.INFO, "decomposing {0}", path);
              }
              try (var _ = new PointerScope()) {
                Tensor weight = Objects.requireNonNull(weights.get(path)).to(ScalarType.Float);
                int r = config.rankAt(path);
                found.put(path, CordaComponents.of(weight, damped, r, corda.knowledge()).owned());
              }
            }
          });
      for (String path : layers.keySet()) {
        CordaComponents some = Objects.requireNonNull(found.get(path));
        prepared.put(path, LoraInit.Corda.VALUES, some.s());
        prepared.put(path, LoraInit.Corda.LEFT, some.u());
        prepared.put(path, LoraInit.Corda.RIGHT, some.v());
      }
      return prepared;
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    } finally {
      found.values().forEach(CordaComponents::close);
    }
  }

  private static Tensor weight(Linear layer, String path) {
    return switch (layer.dtype()) {
      case Float, BFloat16, Half -> layer.weight();
      default ->
          throw new UnsupportedAdapterException(
              "%s is %s but init_lora_weights corda decomposes weights in float32, bfloat16 and float16; load the model in one of them"
                  .formatted(path, layer.dtype()));
    };
  }

  private static void write(Prepared prepared, TensorCache cache, String file) {
    try {
      cache.write(file, prepared.flat());
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
  }
}
