package espalier.parity;

import espalier.adapters.Adapters;
import espalier.adapters.combine.IntruderOptions;
import espalier.adapters.combine.IntruderReport;
import espalier.adapters.combine.Intruders;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/** A LoRA adapter loses its intruder dimensions. */
final class ConvertIntruder implements Experiment {

  @Override
  public Outcome run(Case golden) {
    ModelInputs inputs = GoldenModel.inputs(golden.tensors("inputs.safetensors"));
    JsonNode args = golden.get("args");
    String old = args.path("old_adapter_name").asString("default");
    String made = args.path("new_adapter_name").asString("intruder_reduced");
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel model = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Adapters adapters = Adapting.load(model, golden.adapters(), false);
      IntruderReport report = Intruders.reduce(adapters, old, made, options(args));
      requireCounts(golden, report.intruders());
      adapters.on(made).forEach((path, adapter) -> got.put("delta." + path, adapter.deltaWeight()));
      got.put("logits", model.model().logits(inputs));
    }
    return new Outcome.Tensors(got);
  }

  private static IntruderOptions options(JsonNode args) {
    IntruderOptions defaults = IntruderOptions.defaults();
    return defaults
        .withTopK(args.path("top_k").asInt(defaults.topK()))
        .withEpsilon(args.path("threshold_epsilon").asDouble(defaults.epsilon()))
        .withLambda(args.path("mitigation_lambda").asDouble(defaults.lambda()), defaults.meaning());
  }

  private static void requireCounts(Case golden, Map<String, Integer> found) {
    for (var count : golden.get("intruders_per_module").properties()) {
      Integer got = found.get(count.getKey());
      if (got == null || got != count.getValue().asInt()) {
        throw new AssertionError(
            "%s has %s intruders instead of %s".formatted(count.getKey(), got, count.getValue()));
      }
    }
  }
}
