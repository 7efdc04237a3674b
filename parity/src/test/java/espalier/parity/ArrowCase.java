package espalier.parity;

import espalier.adapters.lora.Arrow;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.ArrowFolders;
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
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** A whole model with a router over adapters: prototypes, logits and loss. */
final class ArrowCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> batch = golden.tensors("inputs.safetensors");
    ModelInputs inputs = GoldenModel.inputs(batch);
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel pretrained = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Model model = pretrained.model();
      Tensor base = model.logits(inputs);
      got.put("base_logits", base);
      got.put("base_loss", GoldenModel.loss(model.task(), base, batch));
      Arrow arrow =
          ArrowFolders.create(
              pretrained.adapters(),
              folders(golden, "task_adapters"),
              folders(golden, "general_adapters"),
              settings(golden.get("arrow")));
      Tensor logits = model.logits(inputs);
      got.put("logits", logits);
      got.put("loss", GoldenModel.loss(model.task(), logits, batch));
      arrow.prototypes().forEach((path, p) -> got.put("prototypes." + path, p.clone()));
    }
    return new Outcome.Tensors(got);
  }

  private static List<Path> folders(Case golden, String field) {
    var folders = new ArrayList<Path>();
    golden.get(field).forEach(name -> folders.add(golden.path(name.asString())));
    return folders;
  }

  private static LoraVariant.Arrow settings(JsonNode arrow) {
    ObjectNode config = Case.JSON.createObjectNode().put("peft_type", "LORA");
    config.set("arrow_config", arrow.deepCopy());
    return (LoraVariant.Arrow) ((LoraConfig) Adapting.config(config)).variant();
  }
}
