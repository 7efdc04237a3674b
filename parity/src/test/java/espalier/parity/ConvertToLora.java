package espalier.parity;

import espalier.adapters.Adapters;
import espalier.adapters.combine.ConversionRank;
import espalier.adapters.combine.Converted;
import espalier.adapters.combine.LoraConversion;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import java.util.LinkedHashMap;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/**
 * Another method's adapter becomes plain LoRA of a rank, or of the ranks that a threshold gives.
 */
final class ConvertToLora implements Experiment {

  @Override
  public Outcome run(Case golden) {
    ModelInputs inputs = GoldenModel.inputs(golden.tensors("inputs.safetensors"));
    var got = new LinkedHashMap<String, Tensor>();
    Converted lora;
    try (PretrainedModel model = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Adapters adapters = Adapting.load(model, golden.adapters(), false);
      adapters
          .on("default")
          .forEach((path, adapter) -> got.put("source_delta." + path, adapter.deltaWeight()));
      got.put("source_logits", model.model().logits(inputs));
      lora = LoraConversion.convert(adapters, "default", rank(golden.get("rank")));
    }
    requireRanks(golden, lora);
    try (PretrainedModel model = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Adapters adapters = model.adapters();
      Adapting.load(adapters, "default", lora.config(), lora.tensors());
      adapters
          .on("default")
          .forEach((path, adapter) -> got.put("delta." + path, adapter.deltaWeight()));
      got.put("logits", model.model().logits(inputs));
    }
    return new Outcome.Tensors(got);
  }

  private static ConversionRank rank(JsonNode rank) {
    return rank.isIntegralNumber()
        ? new ConversionRank.Fixed(rank.asInt())
        : new ConversionRank.Energy(rank.asDouble());
  }

  private static void requireRanks(Case golden, Converted lora) {
    for (var module : golden.json().path("modules").properties()) {
      for (JsonNode rank : module.getValue().path("r")) {
        int got = lora.config().rankAt(module.getKey());
        if (got != rank.asInt()) {
          throw new AssertionError(
              "the rank at %s is %d instead of %s".formatted(module.getKey(), got, rank));
        }
      }
    }
  }
}
