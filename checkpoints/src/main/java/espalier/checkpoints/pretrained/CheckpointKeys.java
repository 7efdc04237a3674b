package espalier.checkpoints.pretrained;

import espalier.models.Model;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;

/**
 * A model's parameters under the keys that its family's checkpoints use: a tied weight once,
 * stacked experts as one matrix each.
 *
 * @param untied whether a weight that was shared no longer is, because one side was merged into
 */
record CheckpointKeys(Map<String, Tensor> tensors, boolean untied) {

  static CheckpointKeys of(Model model) {
    Map<String, Tensor> all = model.namedParameters();
    model.walk(
        (path, layer) -> {
          if (layer instanceof Linear linear && linear.quantised() != null) {
            all.put(Layer.join(path, linear.weightName()), linear.storedWeight());
          }
        });
    var out = new LinkedHashMap<String, Tensor>();
    var followers = new LinkedHashMap<String, String>();
    for (Set<String> group : model.tiedWeights()) {
      String source =
          group.stream()
              .filter(p -> !p.startsWith("lm_head"))
              .findFirst()
              .orElse(group.iterator().next());
      group.stream().filter(p -> !p.equals(source)).forEach(p -> followers.put(p, source));
    }
    boolean untied =
        followers.entrySet().stream().anyMatch(e -> !shared(all, e.getKey(), e.getValue()));
    all.forEach(
        (key, tensor) -> {
          // Once one is parted the config says that nothing is tied, so each needs its own.
          if (untied || !followers.containsKey(key)) {
            put(out, model.modelType(), key, tensor);
          }
        });
    return new CheckpointKeys(out, untied);
  }

  private static boolean shared(Map<String, Tensor> all, String follower, String source) {
    Tensor one = all.get(follower);
    Tensor other = all.get(source);
    return one == null || (other != null && one.data_ptr().address() == other.data_ptr().address());
  }

  private static void put(Map<String, Tensor> out, String modelType, String path, Tensor tensor) {
    boolean mixtral = modelType.equals("mixtral");
    if (path.endsWith(".mlp.experts.gate_up_proj")) {
      String stem = stem(path, mixtral);
      long inner = tensor.size(1) / 2;
      for (long e = 0; e < tensor.size(0); e++) {
        Tensor one = tensor.select(0, e);
        out.put(stem + e + (mixtral ? ".w1.weight" : ".gate_proj.weight"), one.narrow(0, 0, inner));
        out.put(
            stem + e + (mixtral ? ".w3.weight" : ".up_proj.weight"), one.narrow(0, inner, inner));
      }
    } else if (path.endsWith(".mlp.experts.down_proj")) {
      String stem = stem(path, mixtral);
      for (long e = 0; e < tensor.size(0); e++) {
        out.put(stem + e + (mixtral ? ".w2.weight" : ".down_proj.weight"), tensor.select(0, e));
      }
    } else if (mixtral && path.endsWith(".mlp.gate.weight")) {
      out.put(path.replace(".mlp.gate.", ".block_sparse_moe.gate."), tensor);
    } else {
      out.put(path, tensor);
    }
  }

  private static String stem(String path, boolean mixtral) {
    String stem = path.substring(0, path.lastIndexOf('.') + 1);
    return mixtral ? stem.replace(".mlp.experts.", ".block_sparse_moe.experts.") : stem;
  }
}
