package espalier.adapters.combine;

import espalier.adapters.AdapterConfig;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.StateMismatchException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraVariant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.function.ToDoubleFunction;
import org.bytedeco.pytorch.Tensor;

/**
 * One source, checked.
 *
 * @param number among all sources
 * @param scale the runtime factor on the adapter at a path
 */
record SourceAdapter(
    int number,
    String name,
    double weight,
    LoraConfig config,
    LoraTensors tensors,
    ToDoubleFunction<String> scale) {

  /**
   * Checks that a source can be combined.
   *
   * @throws UnsupportedAdapterException if its update is not that of its factors alone
   */
  static SourceAdapter of(
      int number, WeightedAdapter given, boolean asPlain, ToDoubleFunction<String> scale) {
    LoraConfig config = lora(given.name(), given.config());
    refuse(given.name(), config, asPlain);
    LoraTensors tensors = LoraTensors.of(given.name(), given.tensors());
    boolean plain = config.variant() instanceof LoraVariant.Plain;
    var others = new LinkedHashMap<String, Tensor>();
    tensors
        .others()
        .forEach(
            (key, tensor) -> {
              if (!key.contains("lora_")) {
                others.put(key, tensor);
              } else if (plain) {
                throw new StateMismatchException(
                    "%s has the tensor %s but plain LoRA has no such; its config is another's"
                        .formatted(given.name(), key));
              }
            });
    if (tensors.layers().isEmpty()) {
      throw new StateMismatchException(
          "%s has no factors of LoRA; its file is empty or of another method"
              .formatted(given.name()));
    }
    tensors
        .layers()
        .forEach(
            (path, layer) -> {
              if (layer.rank() != config.rankAt(path)) {
                throw new StateMismatchException(
                    "%s has rank %d at %s but its config says %d; they do not belong together"
                        .formatted(given.name(), layer.rank(), path, config.rankAt(path)));
              }
            });
    return new SourceAdapter(
        number,
        given.name(),
        given.weight(),
        config,
        new LoraTensors(tensors.layers(), others),
        scale);
  }

  private static LoraConfig lora(String name, AdapterConfig config) {
    if (config instanceof LoraConfig lora) {
      return lora;
    }
    throw new UnsupportedAdapterException(
        "%s is %s but only LORA can be combined; convert it to LoRA first"
            .formatted(name, config.peftType()));
  }

  private static void refuse(String name, LoraConfig config, boolean asPlain) {
    boolean plainUpdate =
        switch (config.variant()) {
          case LoraVariant.Plain() -> true;
          case LoraVariant.Velora _, LoraVariant.Monteclora _ -> asPlain;
          case LoraVariant.Dora(),
              LoraVariant.Alora _,
              LoraVariant.Bdlora _,
              LoraVariant.Arrow _,
              LoraVariant.Kasa _,
              LoraVariant.Qalora _ ->
              false;
        };
    if (!plainUpdate) {
      boolean couldBe =
          config.variant() instanceof LoraVariant.Velora
              || config.variant() instanceof LoraVariant.Monteclora;
      throw unsupported(
          name,
          config.variant().field(),
          couldBe ? "ask for it with asPlainLora" : "combine adapters without it");
    }
    List<String> parameters = config.targets().parameters();
    if (parameters != null && !parameters.isEmpty()) {
      throw unsupported(name, "target_parameters", "combine adapters on modules");
    }
    if (config.bias() != BiasTraining.NONE) {
      throw unsupported(name, "bias", "combine adapters that train no bias of the base");
    }
    if (config.tokens() != null) {
      throw unsupported(name, "trainable_token_indices", "combine adapters without it");
    }
  }

  private static UnsupportedAdapterException unsupported(String name, String field, String way) {
    return new UnsupportedAdapterException(
        "%s has %s, which can not be combined; %s".formatted(name, field, way));
  }

  boolean has(String path) {
    return tensors.layers().containsKey(path);
  }

  /** What this source has on a layer. */
  Share share(String path) {
    double factor = scale.applyAsDouble(path);
    return tensors.on(path).share(number, name, config.scalingAt(path) * factor, weight);
  }

  /** The names of layers that are trained whole. */
  List<String> saved() {
    List<String> names = config.targets().saved();
    return names == null ? List.of() : names;
  }

  static void requireSameReplication(List<SourceAdapter> sources) {
    if (sources.stream().map(s -> s.config.layerReplication()).distinct().count() > 1) {
      throw new ConfigException(
          "the adapters differ in layer_replication, so they are of different models; combine"
              + " those that agree");
    }
  }
}
