package espalier.parity;

import espalier.adapters.AdapterContents;
import espalier.adapters.Adapters;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.MutatedStart;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Linear;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/**
 * An adapter that was trained over a residual base becomes plain LoRA: the trained one over the
 * residual, and the converted one over the untouched model.
 */
final class ConvertStart implements Experiment {

  private static final String RESIDUAL = "residual.";

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> given = golden.tensors("inputs.safetensors");
    ModelInputs inputs = GoldenModel.inputs(given);
    LoraConfig config = config(golden.path(golden.get("trained").asString()));
    MutatedStart.requireInitial(config(golden.path(golden.get("initial").asString())));
    Map<String, Tensor> trained = tensors(golden, "trained");
    AdapterContents plain = MutatedStart.subtract(config, trained, tensors(golden, "initial"));
    requireChanges(golden, (LoraConfig) plain.config());
    var got = new LinkedHashMap<String, Tensor>();
    plain.tensors().forEach((key, tensor) -> got.put("converted." + key, tensor));
    try (PretrainedModel model = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Adapting.load(model.adapters(), "default", plain.config(), plain.tensors());
      got.put("logits", model.model().logits(inputs));
    }
    try (PretrainedModel model = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      rebase(model, given);
      LoraConfig asItIs = config.toBuilder().init(new LoraInit.Uniform()).build();
      Adapters adapters = model.adapters();
      Adapting.load(adapters, "default", asItIs, trained);
      got.put("trained_logits", model.model().logits(inputs));
    }
    return new Outcome.Tensors(got);
  }

  private static void rebase(PretrainedModel model, Map<String, Tensor> given) {
    given.forEach(
        (name, residual) -> {
          if (name.startsWith(RESIDUAL)) {
            Linear layer = (Linear) model.find(name.substring(RESIDUAL.length()));
            Objects.requireNonNull(layer, name)
                .rebase(layer.transposed() ? residual.t() : residual);
          }
        });
  }

  private static LoraConfig config(Path folder) {
    return (LoraConfig) AdapterFiles.readConfig(folder, Adapting.CATALOG).config();
  }

  private static Map<String, Tensor> tensors(Case golden, String field) {
    return Case.read(golden.path(golden.get(field).asString()).resolve(AdapterFiles.TENSORS));
  }

  private static void requireChanges(Case golden, LoraConfig plain) {
    JsonNode written = Adapting.CATALOG.write(plain);
    for (var change : golden.get("config_changes").properties()) {
      JsonNode want = change.getValue().required(1);
      JsonNode got = written.path(change.getKey());
      if (!ValueJudge.same(got, want)) {
        throw new AssertionError(
            "%s is %s instead of %s after converting".formatted(change.getKey(), got, want));
      }
    }
  }
}
