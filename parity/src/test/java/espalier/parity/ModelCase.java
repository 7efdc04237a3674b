package espalier.parity;

import espalier.adapters.Adapters;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.models.ModelInputs;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** A whole model with an adapter, or several: logits, loss and gradients, then disabled, merged. */
final class ModelCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> batch = golden.tensors("inputs.safetensors");
    ModelInputs inputs = GoldenModel.inputs(batch);
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel pretrained = GoldenModel.load(golden.model())) {
      Model model = pretrained.model();
      try (var _ = new NoGradGuard()) {
        Tensor logits = model.logits(inputs);
        got.put("base_logits", logits);
        got.put("base_loss", GoldenModel.loss(model.task(), logits, batch));
      }
      Map<String, Path> folders = golden.adapters();
      Adapters adapters = Adapting.load(pretrained, folders, true);
      adapters.setActive(active(golden, folders), false);

      Tensor logits = model.logits(inputs);
      Tensor loss = GoldenModel.loss(model.task(), logits, batch);
      loss.backward();
      got.put("logits", logits);
      got.put("loss", loss);
      adapters.parameters().forEach((key, p) -> got.put("grad." + key, new Tensor(p.grad())));

      try (var _ = new NoGradGuard()) {
        try (var _ = adapters.disable()) {
          got.put("disabled_logits", model.logits(inputs));
        }
        if (golden.get("merge").path("equal").asBoolean(false)) {
          adapters.mergeAndUnload(true);
          got.put("merged_logits", model.logits(inputs));
        }
      }
    }
    return new Outcome.Tensors(got);
  }

  private static List<String> active(Case golden, Map<String, Path> folders) {
    var active = new ArrayList<String>();
    golden.json().path("active").forEach(name -> active.add(name.asString()));
    return active.isEmpty() ? List.copyOf(folders.keySet()) : active;
  }
}
