package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.block_diag;
import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.StateMismatchException;
import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** The factors of separate experts, stacked as those of one parameter. */
final class StackedExperts {

  private StackedExperts() {}

  /**
   * Tensors of separate experts stacked as those of today's parameters.
   *
   * @param saved by key; not changed
   * @param layers all layers of the adapter by path
   * @throws StateMismatchException if some experts are there and others are not
   */
  static Map<String, Tensor> stacked(Map<String, Tensor> saved, Map<String, Adaptable> layers) {
    var left = new LinkedHashMap<>(saved);
    layers.forEach(
        (path, layer) -> {
          if (layer instanceof ExpertWeight weight) {
            for (ExpertNames names : List.of(ExpertNames.MIXTRAL, ExpertNames.QWEN)) {
              gather(path, weight, names, left);
            }
          }
        });
    return left;
  }

  private static void gather(
      String path, ExpertWeight weight, ExpertNames names, Map<String, Tensor> left) {
    String owner = path.substring(0, Math.max(0, path.lastIndexOf('.')));
    for (String folder : List.of(owner, owner.replace(".mlp.", ".block_sparse_moe."))) {
      if (path.endsWith("." + ExpertNames.ROUTER)) {
        move(left, folder + ".lora_A.weight", path + ".lora_A.weight");
        move(left, folder + ".lora_B.weight", path + ".lora_B.weight");
        continue;
      }
      List<String> parts = names.parts().get(path.substring(path.lastIndexOf('.') + 1));
      if (parts == null || !present(folder, parts, left)) {
        continue;
      }
      var ofA = new TensorVector();
      var ofB = new TensorVector();
      for (long expert = 0; expert < weight.experts(); expert++) {
        var a = new TensorVector();
        var b = new TensorVector();
        for (String part : parts) {
          String key = "%s.%d.%s.".formatted(folder, expert, part);
          a.push_back(take(left, key + "lora_A.weight", folder));
          b.push_back(take(left, key + "lora_B.weight", folder));
        }
        ofA.push_back(cat(a, 0)); // [parts · r, in]
        ofB.push_back(block_diag(b)); // [out, parts · r]
      }
      left.put(path + ".lora_A.weight", cat(ofA, 0));
      // the file has B as [out, r · E] with the experts innermost
      left.put(path + ".lora_B.weight", stack(ofB, 2).flatten(1, 2));
    }
  }

  private static boolean present(String folder, List<String> parts, Map<String, Tensor> left) {
    return left.keySet().stream()
        .anyMatch(
            key ->
                key.startsWith(folder + ".")
                    && parts.stream().anyMatch(part -> key.endsWith("." + part + ".lora_A.weight"))
                    && Character.isDigit(key.charAt(folder.length() + 1)));
  }

  private static Tensor take(Map<String, Tensor> left, String key, String folder) {
    Tensor tensor = left.remove(key);
    if (tensor == null) {
      throw new StateMismatchException(
          "%s has adapters of single experts, but %s is missing; all experts of a layer and all parts that are one parameter now are needed"
              .formatted(folder, key));
    }
    return tensor;
  }

  private static void move(Map<String, Tensor> left, String from, String to) {
    Tensor tensor = left.remove(from);
    if (tensor != null) {
      left.put(to, tensor);
    }
  }
}
