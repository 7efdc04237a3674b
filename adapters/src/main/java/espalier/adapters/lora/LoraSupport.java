package espalier.adapters.lora;

import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.AttentionProjection;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Linear;

/** Which settings of LoRA exist for which kind of layer. */
final class LoraSupport {

  private LoraSupport() {}

  static UnsupportedAdapterException unsupported(Adaptable layer, String path) {
    return new UnsupportedAdapterException(
        "%s is a %s but LoRA adapts Linear, Conv1D, Embedding, Conv1d, Conv2d, Conv3d, MultiheadAttention and stacked parameters; take it out of target_modules"
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
    if (!starts(config.init(), layer)) {
      throw refuse(
          layer, path, "init_lora_weights " + LoraFormat.word(config.init()), "use true or false");
    }
    if (!varies(config.variant(), layer)) {
      throw refuse(layer, path, config.variant().field(), "leave it out, or leave the layer out");
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

  /** Which starts exist for which layers; on other layers EVA and LoRA-GA start plainly. */
  private static boolean starts(LoraInit init, Adaptable layer) {
    return switch (init) {
      case LoraInit.Uniform(),
          LoraInit.Unset(),
          LoraInit.Gaussian(),
          LoraInit.Eva _,
          LoraInit.LoraGa _ ->
          true;
      case LoraInit.Mica() -> layer instanceof Linear || layer instanceof Embedding;
      case LoraInit.Orthogonal(),
          LoraInit.Pissa(),
          LoraInit.FastPissa _,
          LoraInit.Olora(),
          LoraInit.Corda _,
          LoraInit.Loftq _ ->
          layer instanceof Linear;
    };
  }

  /** Which variants exist for which layers. */
  private static boolean varies(LoraVariant variant, Adaptable layer) {
    if (layer instanceof AttentionProjection) {
      return variant instanceof LoraVariant.Plain;
    }
    return switch (variant) {
      case LoraVariant.Plain() -> true;
      case LoraVariant.Dora() ->
          layer instanceof Linear || layer instanceof Embedding || layer instanceof Convolution;
      case LoraVariant.Kasa _ -> layer instanceof Linear linear && !linear.transposed();
      case LoraVariant.Alora _,
          LoraVariant.Velora _,
          LoraVariant.Monteclora _,
          LoraVariant.Bdlora _,
          LoraVariant.Arrow _,
          LoraVariant.Qalora() ->
          layer instanceof Linear;
    };
  }

  static UnsupportedAdapterException absent(LoraVariant variant, Adaptable layer, String path) {
    return refuse(layer, path, variant.field(), "leave it out");
  }
}
