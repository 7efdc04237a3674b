package espalier.parity;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.ModelFacts;
import espalier.adapters.hira.HiraConvolution;
import espalier.adapters.hira.HiraEmbedding;
import espalier.adapters.hira.HiraLinear;
import espalier.adapters.lora.MontecloraLinear;
import espalier.adapters.lora.MontecloraNoise;
import espalier.adapters.lora.VeloraLinear;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** One layer: its output, the gradients of sum(y * grad_y), and its parameters after merging. */
final class LayerCase implements Experiment {

  private static final String PREFIX = "base_model.model.layer.";

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> inputs = golden.tensors("inputs.safetensors");
    var layout = new GoldenLayer(golden.get("layer"));
    Layer layer = layout.over(below("base.", inputs));
    var got = new LinkedHashMap<String, Tensor>();
    try (Box box = layout.box(layer)) {
      Adapters adapters = Adapters.of(box, ModelFacts.of("box"));
      configs(golden)
          .forEach(
              (name, config) -> Adapting.load(adapters, name, config, saved(golden, name, inputs)));
      adapters.setActive(adapters.names(), false);
      box.train(golden.get("mode").asString().equals("train"));

      giveNoise(layer, inputs);
      Tensor x = Objects.requireNonNull(inputs.get("x"));
      x.set_requires_grad(x.is_floating_point());
      Tensor y = GoldenLayer.forward(layer, x);
      Tensor loss = y.mul(Objects.requireNonNull(inputs.get("grad_y"))).sum();
      // The reference leaves it to its callers to add the penalty; a case says when that was done.
      Tensor penalty = golden.json().has("variational_loss") ? adapters.penalty() : null;
      (penalty == null ? loss : loss.add(penalty)).backward();
      got.put("y", y);
      if (x.requires_grad()) {
        got.put("grad_x", new Tensor(x.grad()));
      }
      adapters
          .parameters()
          .forEach((key, p) -> got.put("grad." + key.replace(PREFIX, ""), new Tensor(p.grad())));

      try (var _ = new NoGradGuard()) {
        try (var _ = adapters.disable()) {
          got.put("y_base", GoldenLayer.forward(layer, x));
        }
        internals(layer, adapters.names().getFirst(), got);
        if (golden.get("merge").path("supported").asBoolean(false)) {
          merge(adapters, layer, inputs, got);
        }
      }
    }
    return new Outcome.Tensors(got);
  }

  private static Map<String, AdapterConfig> configs(Case golden) {
    var configs = new LinkedHashMap<String, AdapterConfig>();
    if (golden.json().has("config")) {
      configs.put("default", Adapting.config(asAttached(golden)));
    } else {
      JsonNode several = golden.get("configs");
      golden
          .get("active")
          .forEach(
              name ->
                  configs.put(name.asString(), Adapting.config(several.required(name.asString()))));
    }
    return configs;
  }

  /**
   * The config of what is attached. The reference has QALoRA for GPTQ layers alone, so the cases
   * attach its branch to a plain layer by hand, and the config does not say so.
   */
  private static JsonNode asAttached(Case golden) {
    ObjectNode config = golden.get("config").asObject().deepCopy();
    return golden.method().equals("qalora")
        ? config.put("use_qalora", true).put("qalora_strict", false)
        : config;
  }

  private static Map<String, Tensor> saved(Case golden, String name, Map<String, Tensor> inputs) {
    String prefix = golden.json().has("config") ? "adapter." : "adapter." + name + "/";
    var saved = new LinkedHashMap<String, Tensor>();
    below(prefix, inputs).forEach((key, tensor) -> saved.put(PREFIX + key, tensor));
    return saved;
  }

  private static Map<String, Tensor> below(String prefix, Map<String, Tensor> tensors) {
    var below = new LinkedHashMap<String, Tensor>();
    tensors.forEach(
        (name, tensor) -> {
          if (name.startsWith(prefix)) {
            below.put(name.substring(prefix.length()), tensor);
          }
        });
    return below;
  }

  /** Lets MonteCLoRA take the noise that the case gives. */
  private static void giveNoise(Layer layer, Map<String, Tensor> inputs) {
    if (!(layer instanceof Adaptable adaptable)) {
      return;
    }
    adaptable
        .adapters()
        .all()
        .values()
        .forEach(
            adapter -> {
              if (adapter instanceof MontecloraLinear monteclora) {
                var noise =
                    new MontecloraNoise(
                        Objects.requireNonNull(inputs.get("noise.z_mvn")),
                        Objects.requireNonNull(inputs.get("noise.z_wishart")),
                        Objects.requireNonNull(inputs.get("noise.z_dirichlet")));
                monteclora.drawFrom(() -> noise);
              }
            });
  }

  /** What a method computes besides its output. */
  private static void internals(Layer layer, String name, Map<String, Tensor> got) {
    Adapter adapter = layer instanceof Adaptable adaptable ? adaptable.adapters().find(name) : null;
    switch (adapter) {
      case HiraLinear hira -> got.put("modulation", hira.modulation());
      case HiraEmbedding hira -> got.put("modulation", hira.modulation());
      case HiraConvolution hira -> got.put("modulation", hira.modulation());
      case MontecloraLinear monteclora -> {
        got.put("kl_loss", monteclora.divergence());
        got.put("entropy_loss", monteclora.entropy());
        got.put("expert_weights", monteclora.weights().clone());
      }
      case VeloraLinear velora -> got.put("velora_embed_after", velora.direction().clone());
      case null, default -> {}
    }
  }

  // The difference is to the weight that was given: some adapters take something out of it.
  private static void merge(
      Adapters adapters, Layer layer, Map<String, Tensor> inputs, Map<String, Tensor> got) {
    if (!(layer instanceof Adaptable adaptable)) {
      adapters.merge(true);
      layer.namedParameters().forEach((name, p) -> got.put("merged." + name, p.detach()));
      return;
    }
    adapters.merge(true);
    Tensor after = stored(adaptable);
    got.put("merged.weight", after);
    Tensor bias = adaptable.bias();
    if (bias != null) {
      got.put("merged.bias", bias.detach());
    }
    got.put("delta_weight", after.sub(Objects.requireNonNull(inputs.get("base.weight"))));
  }

  /** The weight as a checkpoint has it, with a handle that outlives the layer. */
  static Tensor stored(Adaptable layer) {
    return (layer instanceof Linear linear ? linear.storedWeight() : layer.weight()).detach();
  }
}
