package espalier.parity;

import espalier.adapters.calibration.IncrementalPca;
import java.util.LinkedHashMap;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The incremental principal component analysis alone, as it stands after each batch. */
final class InitPca implements Experiment {

  @Override
  public Outcome run(Case golden) {
    Tensor data = Objects.requireNonNull(golden.tensors("inputs.safetensors").get("data"));
    var got = new LinkedHashMap<String, Tensor>();
    try (var pca = new IncrementalPca(golden.get("components").asInt())) {
      for (int i = 0; i < data.size(0); i++) {
        pca.add(data.select(0, i));
        got.put("components." + i, pca.components().clone());
        got.put("singular_values." + i, pca.singularValues().clone());
        got.put("explained_variance_ratio." + i, pca.explainedRatio().clone());
      }
      got.put("mean", pca.mean().to(ScalarType.Float));
      got.put("variance", pca.variance().to(ScalarType.Float));
    }
    return new Outcome.Tensors(got);
  }
}
