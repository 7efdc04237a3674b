package espalier.parity;

import static org.bytedeco.pytorch.global.torch.createCPUGenerator;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.combine.Combination;
import espalier.adapters.combine.Combining;
import espalier.adapters.combine.Masks;
import espalier.adapters.combine.WeightedAdapter;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.TransposedLinear;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/** One adapter out of several, as {@code add_weighted_adapter} makes it. */
final class CombineCase implements Experiment {

  private static final String NAME = "combined";
  private static final String PREFIX = "base_model.model.";

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> stored = golden.tensors("inputs.safetensors");
    ModelInputs inputs = GoldenModel.inputs(stored);
    JsonNode args = golden.get("combine");
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel pretrained = GoldenModel.load(golden.model());
        var _ = new NoGradGuard()) {
      Adapters adapters = Adapting.load(pretrained, golden.adapters(), false);
      List<String> names = Combinations.adapters(args);
      Combination how = Combinations.of(args);
      Masks masks = masks(golden, adapters, stored);
      Combining.add(adapters, names, Combinations.weights(args), NAME, how, masks);
      adapters.setActive(List.of(NAME), true);
      adapters.setScale(NAME, Departures.inheritedScaling(golden));
      adapters.on(NAME).forEach((path, adapter) -> got.put("delta." + path, stored(adapter)));
      adapters
          .state(NAME, SaveEmbeddings.NO)
          .forEach((key, factor) -> got.put(factorName(key), factor.detach()));
      Departures.withoutPadding(golden, got);
      got.put("logits", pretrained.model().logits(inputs));
    }
    return new Outcome.Tensors(got);
  }

  /** The update as a checkpoint would have it: GPT-2's weights are [in, out]. */
  private static Tensor stored(Adapter adapter) {
    Tensor delta = adapter.deltaWeight();
    return adapter.layer() instanceof TransposedLinear ? delta.t() : delta;
  }

  /** From the key in an adapter's file to the name in a case: {@code lora_A.PATH}. */
  private static String factorName(String key) {
    String bare = key.substring(PREFIX.length());
    for (String factor : List.of("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")) {
      int at = bare.indexOf("." + factor);
      if (at >= 0 && (bare.endsWith(factor) || bare.endsWith(factor + ".weight"))) {
        return factor + "." + bare.substring(0, at);
      }
    }
    return "other." + bare;
  }

  /**
   * The masks that the reference drew. They are drawn here as well, in its order and from its
   * generator, behind the first values of the new adapter that it draws before them.
   */
  private static Masks masks(Case golden, Adapters adapters, Map<String, Tensor> stored) {
    JsonNode rng = golden.json().path("rng");
    if (!rng.isObject()) {
      return Masks.seeded(0);
    }
    Generator generator = createCPUGenerator(rng.required("seed").asLong());
    drawStart(golden, adapters, generator);
    Masks own = Masks.shared(generator);
    int[] drawn = {0};
    return (place, shape, density) -> {
      Tensor mask = own.draw(place, shape, density);
      Tensor wanted = stored.get("mask." + drawn[0]++);
      if (wanted == null || !wanted.reshape(shape).equal(mask)) {
        throw new AssertionError("mask %d for %s is not the case's".formatted(drawn[0] - 1, place));
      }
      return mask;
    };
  }

  private static void drawStart(Case golden, Adapters adapters, Generator generator) {
    JsonNode args = golden.get("combine");
    String first = Combinations.adapters(args).getFirst();
    var combined =
        Combining.combine(
            Combinations.adapters(args).stream()
                .map(
                    name ->
                        new WeightedAdapter(name, adapters.config(name), adapters.state(name), 1))
                .toList(),
            Combinations.of(args));
    Init one = Init.of(generator);
    adapters.add("draws of " + first, combined.config(), AttachOptions.of((_, _) -> one));
    adapters.delete("draws of " + first);
  }
}
