package espalier.parity;

import static org.bytedeco.pytorch.global.torch.linalg_svd;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * The fit of what quantising lost, where the reference got it wrong: its 4-bit layers on a
 * processor pack their weight anew in the first forward pass, in bfloat16 kernels, and the fit then
 * reads the packed bytes as if they still lay in their first order. Such a case shows itself: its
 * factors make the error larger. What is expected then is the definition, the best fit of weight
 * minus dequantised weight; the logits, which come from the same layers, are not compared.
 */
final class GarbledFit {

  private GarbledFit() {}

  /** What the case expects, put right where its factors make the error larger. */
  static Map<String, Tensor> corrected(Case golden) {
    Map<String, Tensor> expected = golden.expected();
    Map<String, Tensor> inputs = golden.tensors("inputs.safetensors");
    var right = new LinkedHashMap<String, Tensor>();
    boolean garbled = false;
    for (var entry : expected.entrySet()) {
      String name = entry.getKey();
      if (!name.startsWith("product.")) {
        continue;
      }
      String path = name.substring("product.".length());
      Tensor weight = Objects.requireNonNull(inputs.get("weight." + path), path);
      Tensor lost = weight.sub(Objects.requireNonNull(expected.get("dequantized." + path), path));
      long rank = Objects.requireNonNull(expected.get("lora_A." + path), path).size(0);
      garbled |= norm(lost.sub(entry.getValue())) > norm(lost);
      right.put(name, best(lost, rank));
    }
    if (!garbled) {
      return expected;
    }
    expected.forEach(
        (name, tensor) -> {
          if (name.startsWith("dequantized.")) {
            right.put(name, tensor);
          }
        });
    return right;
  }

  private static Tensor best(Tensor lost, long rank) {
    var usv = linalg_svd(lost, false, new StringViewOptional());
    Tensor left = usv.get0().narrow(1, 0, rank).mul(usv.get1().narrow(0, 0, rank));
    return left.matmul(usv.get2().narrow(0, 0, rank));
  }

  private static double norm(Tensor tensor) {
    return tensor.square().sum().sqrt().item_double();
  }
}
