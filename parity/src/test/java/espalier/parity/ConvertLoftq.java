package espalier.parity;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.lora.Loftq;
import espalier.adapters.lora.LoraLinear;
import espalier.checkpoints.OriginalWeights;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.FourBit;
import espalier.nn.Linear;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** The factors on a base in NF4 become the fit of what quantising lost. */
final class ConvertLoftq implements Experiment {

  @Override
  public Outcome run(Case golden) {
    ModelInputs inputs = GoldenModel.inputs(golden.tensors("inputs.safetensors"));
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel model = GoldenModel.load(golden.model());
        OriginalWeights originals = OriginalWeights.open(golden.model());
        var _ = new NoGradGuard()) {
      quantise(model, golden, got);
      Adapters adapters = model.adapters();
      adapters.attach(
          "default", Adapting.config(golden.get("config")), AttachOptions.of(InitSource.shared(1)));
      got.put("logits_before", model.model().logits(inputs));
      Loftq.replaceWeights(adapters, "default", originals, _ -> true);
      got.put("logits", model.model().logits(inputs));
      adapters
          .on("default")
          .forEach(
              (path, adapter) -> {
                if (adapter instanceof LoraLinear lora) {
                  got.put("lora_A." + path, lora.a().detach());
                  got.put("lora_B." + path, lora.b().detach());
                  got.put("product." + path, lora.b().matmul(lora.a()));
                }
              });
    }
    return new Outcome.Tensors(got);
  }

  private static void quantise(PretrainedModel model, Case golden, Map<String, Tensor> got) {
    Set<String> names = new LinkedHashSet<>();
    golden.get("quantized").forEach(name -> names.add(name.asString()));
    model
        .model()
        .layers()
        .forEach(
            (path, layer) -> {
              if (layer instanceof Linear linear
                  && names.contains(path.substring(path.lastIndexOf('.') + 1))) {
                Tensor rounded = FourBit.NF4.quantise(linear.weight()).dequantise();
                linear.rebase(rounded);
                got.put("dequantized." + path, rounded);
              }
            });
  }
}
