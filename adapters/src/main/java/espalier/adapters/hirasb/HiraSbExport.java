package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.cat;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.PathMap;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hira.HiraInit;
import espalier.adapters.lora.LoraConfig;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * HiRA-SB in files that others read: with B' = s B R and A' = A it is an adapter of HiRA, and one
 * of LoRA with scaling 1 where the update is not multiplied by the weight.
 */
final class HiraSbExport {

  private static final String MARK = "." + HiraSbAdapter.R;

  private HiraSbExport() {}

  static AdapterContents of(HiraSbConfig config, String method, Map<String, Tensor> tensors) {
    boolean additive = config.space() == Space.ADDITIVE;
    String own = additive ? "LORA" : "HIRA";
    if (!method.equals(own)) {
      throw new ConfigException(
          "HIRA_SB can not be exported as %s; with space %s it is an adapter of %s"
              .formatted(method, additive ? "additive" : "hadamard", own));
    }
    long rank = largest(config, tensors);
    var exported = new LinkedHashMap<String, Tensor>();
    tensors.forEach(
        (key, tensor) -> {
          if (key.endsWith(MARK)) {
            String path = key.substring(0, key.length() - MARK.length());
            Tensor a = wide(there(tensors, path, HiraSbAdapter.A));
            Tensor b = wide(there(tensors, path, HiraSbAdapter.B));
            Tensor left = left(config, b, wide(tensor), a);
            if (additive) {
              exported.put(path + ".lora_A.weight", a);
              exported.put(path + ".lora_B.weight", left);
            } else {
              exported.put(path + ".hira_A", padded(a, 0, rank));
              exported.put(path + ".hira_B", padded(left, 1, rank));
            }
          } else if (!key.endsWith("." + HiraSbAdapter.A) && !key.endsWith("." + HiraSbAdapter.B)) {
            exported.put(key, tensor); // a layer that was trained whole
          }
        });
    return new AdapterContents(additive ? lora(config) : hira(config, (int) rank), exported);
  }

  static Tensor there(Map<String, Tensor> tensors, String path, String name) {
    Tensor tensor = tensors.get(path + "." + name);
    if (tensor == null) {
      throw new ConfigException(
          "%s.%s is not there but R needs both of its bases; take the adapter's whole file"
              .formatted(path, name));
    }
    return tensor;
  }

  /** s B R in the shape of B. */
  private static Tensor left(HiraSbConfig config, Tensor b, Tensor r, Tensor a) {
    double s = config.scaleOf(b.size(0), a.numel() / a.size(0), a.size(0));
    return b.flatten(1, -1).mm(r).mul_(new Scalar(s)).view_as(b);
  }

  private static Tensor wide(Tensor tensor) {
    return tensor.scalar_type().intern() == ScalarType.Double
        ? tensor
        : tensor.to(ScalarType.Float);
  }

  private static long largest(HiraSbConfig config, Map<String, Tensor> tensors) {
    return tensors.entrySet().stream()
        .filter(entry -> entry.getKey().endsWith(MARK))
        .mapToLong(entry -> entry.getValue().size(0))
        .max()
        .orElse(config.r());
  }

  /** With zeros up to one rank for all layers: PEFT ignores the rank_pattern of HiRA. */
  private static Tensor padded(Tensor factor, int dimension, long rank) {
    long[] shape = factor.shape();
    if (shape[dimension] == rank) {
      return factor;
    }
    shape[dimension] = rank - shape[dimension];
    return cat(new TensorVector(factor, factor.new_zeros(shape)), dimension);
  }

  private static HiraConfig hira(HiraSbConfig config, int rank) {
    return new HiraConfig(
        config.head(),
        config.targets(),
        rank,
        config.dropout(),
        HiraInit.UNIFORM,
        PathMap.empty(),
        1,
        false);
  }

  private static LoraConfig lora(HiraSbConfig config) {
    var alphas = new LinkedHashMap<String, Double>();
    config.rankPattern().entries().forEach((path, rank) -> alphas.put(path, (double) rank));
    return LoraConfig.builder()
        .head(config.head())
        .targets(config.targets())
        .r(config.r())
        .alpha(config.r())
        .dropout(config.dropout())
        .rankPattern(config.rankPattern().entries())
        .alphaPattern(alphas)
        .build();
  }
}
