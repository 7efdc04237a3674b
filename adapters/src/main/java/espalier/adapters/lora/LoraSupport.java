package espalier.adapters.lora;

import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;

/** Which settings of LoRA exist for which kind of layer. */
final class LoraSupport {

  private LoraSupport() {}

  static UnsupportedAdapterException unsupported(Adaptable layer, String path) {
    return new UnsupportedAdapterException(
        "%s is a %s but LoRA adapts Linear, Conv1D, Embedding, Conv1d, Conv2d, Conv3d and stacked parameters; take it out of target_modules"
            .formatted(path, layer.typeName()));
  }

  private static UnsupportedAdapterException refuse(
      Adaptable layer, String path, String field, String way) {
    return new UnsupportedAdapterException(
        "%s is a %s, for which %s does not exist; %s"
            .formatted(path, layer.typeName(), field, way));
  }

  /**
   * Checks a config against a layer.
   *
   * @throws UnsupportedAdapterException naming the setting, the layer and its kind
   */
  static void require(LoraConfig config, Adaptable layer, String path) {
    switch (config.init()) {
      case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian() -> {}
      default ->
          throw refuse(
              layer,
              path,
              "init_lora_weights " + LoraFormat.word(config.init()),
              "use true, false or gaussian");
    }
    if (!(config.variant() instanceof LoraVariant.Plain)) {
      throw refuse(layer, path, config.variant().field(), "leave it out");
    }
    if (config.layerReplication() != null) {
      throw refuse(layer, path, "layer_replication", "leave it out");
    }
    switch (layer) {
      case Embedding _ -> {
        if (config.loraBias()) {
          throw refuse(layer, path, "lora_bias", "leave the embedding out or turn the bias off");
        }
      }
      case Convolution convolution -> {
        long groups = convolution.geometry().groups();
        int r = config.rankAt(path);
        if (r % groups != 0) {
          throw new UnsupportedAdapterException(
              "%s has %d groups but r is %d; a rank divisible by %d is needed"
                  .formatted(path, groups, r, groups));
        }
      }
      case ExpertWeight _ -> {
        if (config.dropout() > 0) {
          throw refuse(layer, path, "lora_dropout", "set it to 0 with target_parameters");
        }
        if (config.loraBias()) {
          throw refuse(layer, path, "lora_bias", "turn it off with target_parameters");
        }
      }
      default -> {}
    }
  }
}
