package espalier.parity;

import espalier.adapters.Adapters;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.models.ModelInputs;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** A batch in which each row has an adapter of its own, or none. */
final class MixedCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    ModelInputs inputs = GoldenModel.inputs(golden.tensors("inputs.safetensors"));
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel pretrained = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Model model = pretrained.model();
      Adapters adapters = Adapting.load(pretrained, golden.adapters(), false);
      List<String> names = names(golden.get("adapter_names"));
      got.put(
          "logits", adapters.mixed(names, inputs.inputIds().size(0), () -> model.logits(inputs)));
      try (var _ = adapters.disable()) {
        got.put("base_logits", model.logits(inputs));
      }
    }
    return new Outcome.Tensors(got);
  }

  static List<String> names(Iterable<tools.jackson.databind.JsonNode> json) {
    var names = new ArrayList<String>();
    json.forEach(name -> names.add(name.asString()));
    return names;
  }
}
