package espalier.adapters.lora;

import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.AttentionProjection;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Int4Weight;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;

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
   * @param loaded whether saved factors follow; those of an embedding started plainly in the
   *     reference, whatever the config says
   * @throws UnsupportedAdapterException naming the setting, the layer and its kind
   */
  static void require(LoraConfig config, Adaptable layer, String path, boolean loaded) {
    if (!starts(config.init(), layer) && !(loaded && layer instanceof Embedding)) {
      throw refuse(
          layer, path, "init_lora_weights " + LoraFormat.word(config.init()), "use true or false");
    }
    if (!varies(config.variant(), layer)) {
      throw refuse(layer, path, config.variant().field(), "leave it out, or leave the layer out");
    }
    switch (layer) {
      case Linear linear -> requireForm(config, linear, path);
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
    // Packed attention adds its branch twice on the way out, so nothing can be taken out of it.
    boolean linear = layer instanceof Linear && !(layer instanceof AttentionProjection);
    return switch (init) {
      case LoraInit.Uniform(),
          LoraInit.Unset(),
          LoraInit.Gaussian(),
          LoraInit.Eva _,
          LoraInit.LoraGa _ ->
          true;
      case LoraInit.Mica() -> linear || layer instanceof Embedding;
      case LoraInit.Orthogonal(),
          LoraInit.Pissa(),
          LoraInit.FastPissa _,
          LoraInit.Olora(),
          LoraInit.Corda _,
          LoraInit.Loftq _ ->
          linear;
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
          LoraVariant.Qalora _ ->
          layer instanceof Linear;
    };
  }

  /** Which starts and variants exist for a linear layer whose weight is, or is not, quantised. */
  private static void requireForm(LoraConfig config, Linear layer, String path) {
    LoraVariant variant = config.variant();
    QuantisedWeight codes = layer.quantised();
    boolean groups = codes instanceof Int4Weight;
    if (variant instanceof LoraVariant.Qalora(boolean strict) && strict && !groups) {
      throw new UnsupportedAdapterException(
          "%s is %s but use_qalora is for weights that are quantised in groups of inputs; load the model with quantize int4, or set qalora_strict to false to have it here all the same"
              .formatted(path, codes == null ? "not quantised" : codes.format()));
    }
    if (codes == null) {
      return;
    }
    boolean here =
        switch (variant) {
          case LoraVariant.Plain(), LoraVariant.Qalora _ -> true;
          case LoraVariant.Dora(), LoraVariant.Alora _, LoraVariant.Arrow _ -> !groups;
          case LoraVariant.Velora _,
              LoraVariant.Monteclora _,
              LoraVariant.Bdlora _,
              LoraVariant.Kasa _ ->
              false;
        };
    if (!here) {
      throw quantised(path, codes, variant.field(), "leave it out, or load the model unquantised");
    }
    if (config.init() instanceof LoraInit.Loftq) {
      throw new IllegalStateException(
          "%s is quantised as %s already but init_lora_weights loftq quantises a plain base itself; load the model unquantised, or fit the factors with Loftq.replaceWeights"
              .formatted(path, codes.format()));
    }
    boolean starts =
        switch (config.init()) {
          case LoraInit.Uniform(),
              LoraInit.Unset(),
              LoraInit.Gaussian(),
              LoraInit.Orthogonal(),
              LoraInit.Eva _ ->
              true;
          case LoraInit.Olora() -> codes.writable();
          case LoraInit.Mica(),
              LoraInit.Pissa(),
              LoraInit.FastPissa _,
              LoraInit.Corda _,
              LoraInit.LoraGa _,
              LoraInit.Loftq _ ->
              false;
        };
    if (!starts) {
      throw quantised(
          path,
          codes,
          "init_lora_weights " + LoraFormat.word(config.init()),
          "use true, or load the model unquantised");
    }
  }

  private static UnsupportedAdapterException quantised(
      String path, QuantisedWeight codes, String field, String way) {
    return new UnsupportedAdapterException(
        "%s is quantised as %s, for which %s does not exist; %s"
            .formatted(path, codes.format(), field, way));
  }
}
