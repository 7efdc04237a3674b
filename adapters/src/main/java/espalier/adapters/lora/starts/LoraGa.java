package espalier.adapters.lora.starts;

import espalier.adapters.ConfigException;
import espalier.adapters.ModelFacts;
import espalier.adapters.TargetException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.calibration.WeightGradients;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.AutoGradMode;
import org.jspecify.annotations.Nullable;

/**
 * Estimates the gradients of the weights that LoRA-GA starts from.
 *
 * <pre>{@code
 * Runnable steps = () -> {
 *   for (Batch batch : batches) {
 *     try (var _ = Scope.graph()) {
 *       loss(model, batch).backward();
 *     }
 *   }
 * };
 * try (Prepared prepared = LoraGa.estimateGradients(model, facts, config, steps)) {
 *   var init = InitSource.seeded(42).withPrepared(prepared.values());
 *   adapters.attach("default", config, AttachOptions.of(init));
 * }
 * }</pre>
 *
 * @see <a href="https://arxiv.org/abs/2407.05000">LoRA-GA, NeurIPS 2024</a>
 */
public final class LoraGa {

  private LoraGa() {}

  /**
   * The gradients from a file, or estimated and then kept there.
   *
   * @param trainStep runs forward and backward of the model's loss, any number of times
   * @param cache where files are
   * @param cacheFile the file's name, or null to keep nothing
   * @throws ConfigException if the config's start is not LoRA-GA
   * @throws UnsupportedAdapterException if a target is quantised, before a step runs
   * @throws TargetException if none of the targets is a linear layer
   * @throws IllegalStateException if a target got no gradient, or the file lacks one
   */
  public static Prepared preprocess(
      Layer model,
      ModelFacts facts,
      LoraConfig config,
      Runnable trainStep,
      TensorCache cache,
      @Nullable String cacheFile) {
    if (cacheFile == null) {
      return estimateGradients(model, facts, config, trainStep);
    }
    Map<String, Linear> layers = layers(model, facts, config);
    try (var _ = Scope.open()) {
      var kept = cache.read(cacheFile);
      if (kept.isPresent()) {
        return Kept.of(kept.get(), cacheFile, layers.keySet(), List.of(LoraInit.LoraGa.GRADIENT));
      }
    }
    Prepared prepared = estimateGradients(model, facts, config, trainStep);
    try {
      cache.write(cacheFile, prepared.flat());
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
    return prepared;
  }

  /**
   * The gradient of each target's weight, [out, in] float32: the sum over the backward passes that
   * {@code trainStep} runs, divided by their number. The weights stay frozen; the model is in
   * training mode meanwhile.
   *
   * @param trainStep runs forward and backward of the model's loss, any number of times
   * @throws ConfigException if the config's start is not LoRA-GA
   * @throws TargetException if none of the targets is a linear layer
   * @throws IllegalStateException if a target got no gradient
   */
  public static Prepared estimateGradients(
      Layer model, ModelFacts facts, LoraConfig config, Runnable trainStep) {
    Map<String, Linear> layers = layers(model, facts, config);
    boolean training = model.training();
    try (var gradients = new WeightGradients(layers)) {
      model.train(true);
      try (var _ = new AutoGradMode(true)) {
        trainStep.run();
      }
      return means(gradients, layers);
    } finally {
      model.train(training);
    }
  }

  private static Prepared means(WeightGradients gradients, Map<String, Linear> layers) {
    var prepared = new Prepared();
    try (var _ = Scope.open()) {
      layers
          .keySet()
          .forEach(path -> prepared.put(path, LoraInit.LoraGa.GRADIENT, gradients.mean(path)));
      return prepared;
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
  }

  private static Map<String, Linear> layers(Layer model, ModelFacts facts, LoraConfig config) {
    if (!(config.init() instanceof LoraInit.LoraGa)) {
      throw new ConfigException(
          "gradients are for init_lora_weights lora_ga with lora_ga_config but the config starts"
              + " otherwise; set both");
    }
    var layers = new LinkedHashMap<>(TargetLayers.of(model, facts, config).linear());
    if (layers.isEmpty()) {
      throw new TargetException(
          "none of the targets is a linear layer, which init_lora_weights lora_ga is for; name"
              + " linear layers in target_modules");
    }
    layers.forEach(
        (path, layer) -> {
          QuantisedWeight codes = layer.quantised();
          if (codes != null) {
            throw new UnsupportedAdapterException(
                "%s is quantised as %s, for which init_lora_weights lora_ga does not exist: it takes factors out of the plain weight; load the model without --quantize, or use another start"
                    .formatted(path, codes.format()));
          }
        });
    return layers;
  }
}
