package espalier.parity;

import espalier.adapters.ModelFacts;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.starts.Corda;
import espalier.nn.Adaptable;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What a single layer's start needs of data, from the inputs of a case. */
final class GoldenStart {

  private GoldenStart() {}

  /**
   * Values by the path of their layer and by name; empty for starts that need no data.
   *
   * @param got where the covariance goes that was computed on the way
   */
  static Map<String, Map<String, Tensor>> prepared(
      Box box,
      GoldenLayer layout,
      LoraConfig config,
      Map<String, Tensor> inputs,
      Map<String, Tensor> got) {
    @Nullable Tensor gradient = inputs.get("gradient");
    if (gradient != null) {
      Tensor logical = layout.transposed() ? gradient.t() : gradient;
      return Map.of(layout.path(), Map.of(LoraInit.LoraGa.GRADIENT, logical));
    }
    @Nullable Tensor samples = inputs.get("calibration");
    if (samples == null || !(box.find(layout.path()) instanceof Adaptable layer)) {
      return Map.of();
    }
    Runnable run =
        () -> {
          for (long i = 0; i < samples.size(0); i++) {
            layer.forward(samples.narrow(0, i, 1)).close();
          }
        };
    var values = new LinkedHashMap<String, Tensor>();
    try (Prepared prepared =
        Corda.preprocess(box, ModelFacts.of("box"), config, run, TensorCache.none())) {
      prepared
          .values()
          .values() // of the one layer
          .forEach(own -> own.forEach((name, t) -> values.put(name, t.clone())));
    }
    Tensor covariance = values.get(Corda.COVARIANCE);
    if (covariance != null) {
      got.put("covariance", covariance);
    }
    return Map.of(layout.path(), values);
  }
}
