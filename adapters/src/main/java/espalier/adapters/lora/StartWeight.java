package espalier.adapters.lora;

import espalier.adapters.NotFiniteException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The weight of a layer as a start decomposes it: logical shape, float32. */
final class StartWeight {

  private StartWeight() {}

  /**
   * The weight in float32.
   *
   * @throws UnsupportedAdapterException if the layer's dtype is not float32, bfloat16 or float16
   * @throws NotFiniteException if it has entries that are not finite
   */
  static Tensor of(LoraInit init, Adaptable layer, String path) {
    ScalarType dtype = layer.dtype();
    if (dtype != ScalarType.Float && dtype != ScalarType.BFloat16 && dtype != ScalarType.Half) {
      throw new UnsupportedAdapterException(
          "%s is %s but init_lora_weights %s decomposes weights in float32, bfloat16 and float16; load the model in one of them, or use true"
              .formatted(path, dtype, LoraFormat.word(init)));
    }
    Tensor weight = layer.weight().detach().to(ScalarType.Float);
    if (!weight.isfinite().all().item_bool()) { // waits for the device: once a layer
      throw new NotFiniteException(
          "%s has entries that are not finite, so init_lora_weights %s can not decompose it; the checkpoint is damaged, or leave the layer out of target_modules"
              .formatted(path, LoraFormat.word(init)));
    }
    return weight;
  }
}
