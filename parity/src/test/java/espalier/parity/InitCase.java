package espalier.parity;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adaptable;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * What an initialisation makes of one given base weight, with the generator that the case seeds.
 */
final class InitCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    return switch (golden.json().path("variant").asString("")) {
      case "" -> layer(golden);
      case "model" -> new InitModel().run(golden);
      case "ipca" -> new InitPca().run(golden);
      case String other -> throw new AssertionError("the variant %s is not known".formatted(other));
    };
  }

  private static Outcome layer(Case golden) {
    Map<String, Tensor> inputs = golden.tensors("inputs.safetensors");
    var base = new LinkedHashMap<String, Tensor>();
    inputs.forEach(
        (name, tensor) -> {
          if (name.startsWith("base.")) {
            base.put(name.substring("base.".length()), tensor);
          }
        });
    var layout = new GoldenLayer(golden.get("layer"));
    var layer = (Adaptable) layout.over(base);
    var got = new LinkedHashMap<String, Tensor>();
    try (Box box = layout.box(layer);
        var _ = new NoGradGuard()) {
      Adapters adapters = Adapters.of(box, ModelFacts.of("box"));
      long seed = golden.get("rng").required("seed").asLong();
      AdapterConfig config = Adapting.withIndices(Adapting.config(golden.get("config")));
      InitSource init = InitSource.shared(seed);
      if (config instanceof LoraConfig lora) {
        init = init.withPrepared(GoldenStart.prepared(box, layout, lora, inputs, got));
      }
      adapters.attach("default", config, AttachOptions.of(init));
      adapters
          .state("default", SaveEmbeddings.NO)
          .forEach(
              (key, tensor) ->
                  got.put(key.replace("base_model.model.layer.", "adapter."), tensor.detach()));
      Tensor a = got.get("adapter.lora_A.weight");
      Tensor b = got.get("adapter.lora_B.weight");
      if (a != null && b != null && a.dim() == 2) {
        got.put("product", b.matmul(a));
      }
      Tensor weight = LayerCase.stored(layer);
      boolean changed = !weight.equal(Objects.requireNonNull(base.get("weight")));
      if (changed != golden.get("base_weight_changed").asBoolean()) {
        throw new AssertionError(
            changed ? "the base weight was changed" : "the base weight was left as it was");
      }
      got.put("base_after.weight", weight);
    }
    return new Outcome.Tensors(got);
  }
}
