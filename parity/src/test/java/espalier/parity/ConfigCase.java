package espalier.parity;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.Attached;
import espalier.adapters.gralora.GraloraLinear;
import espalier.adapters.lora.LoraEmbedding;
import espalier.adapters.lora.LoraLinear;
import espalier.adapters.lora.TiedEmbedding;
import espalier.adapters.lora.TiedHead;
import espalier.adapters.lycoris.LycorisAdapter;
import espalier.adapters.shira.ShiraLinear;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.TransposedLinear;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import java.util.stream.StreamSupport;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What becomes of a configuration on a model: the layers that it means, the parameters that train,
 * the shapes in the adapter's file, and the config as it is written.
 */
final class ConfigCase implements Experiment {

  /** Lists that the reference keeps as sets, so that their order in a file says nothing. */
  private static final List<String> SETS =
      List.of("target_modules", "target_parameters", "exclude_modules", "modules_to_save");

  @Override
  public Outcome run(Case golden) {
    if (golden.json().path("variant").asString("").equals("kappa")) {
      return new ConfigKappa().run(golden);
    }
    ObjectNode got = Case.JSON.createObjectNode();
    ObjectNode want = golden.json().asObject().deepCopy();
    try (PretrainedModel model = GoldenModel.load(golden.model())) {
      JsonNode given = golden.get("given");
      boolean overlooked =
          OverlookedTies.in(given, model.model()) && !OverlookedTies.kept(want, model.model());
      AdapterConfig config = Adapting.given(overlooked ? OverlookedTies.without(given) : given);
      Adapters adapters = model.adapters();
      Attached attached = model.attach("default", Adapting.withIndices(config), 0);
      got.set("targeted_modules", list(attached.modules()));
      got.set("targeted_parameters", list(attached.parameters()));
      var wrapped = new TreeSet<>(attached.saved());
      wrapped.addAll(attached.tokens());
      got.set("wrapped_modules", list(wrapped));
      got.set("parameters", parameters(adapters));
      got.set("trainable_names", list(new TreeSet<>(adapters.parameters().keySet())));
      ObjectNode shapes = got.putObject("adapter_file");
      adapters
          .state("default")
          .forEach(
              (key, tensor) -> {
                ArrayNode shape = shapes.putArray(key);
                for (long size : Judge.shape(tensor)) {
                  shape.add(size);
                }
              });
      got.set("scaling", scaling(adapters));
      ObjectNode ours = comparable(Adapting.CATALOG.write(attached.config()));
      ours.remove("mask_options"); // of withIndices
      got.set("adapter_config", ours);

      JsonNode file = Case.JSON.readTree(golden.path(golden.get("adapter_config").asString()));
      ObjectNode written = overlooked ? OverlookedTies.without(file) : file.asObject();
      want.set("adapter_config", comparable(written));
      want.set("scaling", scaling(golden.get("modules")));
      Departures.rankIsNoParameter(want);
      Departures.wholeNamesOnly(want);
      new ConfigDepartures(want, model::find).apply();
      Departures.storageOfAnyTarget(want, path -> model.find(path) instanceof TransposedLinear);
      if (!model.model().tiedWeights().isEmpty()) {
        Departures.tiedCountOnce(want);
      }
    }
    return new Outcome.Values(want, got);
  }

  /** The factor on the branch of each layer, by path, for the methods that have one. */
  private static ObjectNode scaling(Adapters adapters) {
    ObjectNode scaling = Case.JSON.createObjectNode();
    adapters
        .on("default")
        .forEach(
            (path, adapter) -> {
              switch (adapter) {
                case LoraLinear lora -> scaling.put(path, lora.scaling());
                case GraloraLinear gralora -> scaling.put(path, gralora.scaling());
                case LoraEmbedding lora -> scaling.put(path, lora.scaling());
                case TiedHead lora -> scaling.put(path, lora.scaling());
                case TiedEmbedding lora -> scaling.put(path, lora.scaling());
                case LycorisAdapter lycoris -> scaling.put(path, lycoris.scaling());
                case ShiraLinear shira -> scaling.put(path, shira.scale());
                default -> {} // parameters, whose modules the reference names by their wrappers
              }
            });
    return scaling;
  }

  private static ObjectNode scaling(JsonNode modules) {
    ObjectNode scaling = Case.JSON.createObjectNode();
    modules
        .properties()
        .forEach(
            module -> {
              JsonNode said = module.getValue();
              if (said.has("scaling") && !said.path("layer").asString("").equals("ParamWrapper")) {
                scaling.set(module.getKey(), said.required("scaling").required("default"));
              }
            });
    return scaling;
  }

  private static ObjectNode parameters(Adapters adapters) {
    var status = adapters.status();
    return Case.JSON
        .createObjectNode()
        .put("trainable", status.trainable())
        .put("all", status.total())
        .put("percent", percent(status.trainable(), status.total()));
  }

  static String percent(long part, long all) {
    return String.format(Locale.ROOT, "%.4f", 100.0 * part / all);
  }

  private static ArrayNode list(Collection<String> texts) {
    ArrayNode list = Case.JSON.createArrayNode();
    texts.forEach(list::add);
    return list;
  }

  private static ObjectNode comparable(ObjectNode config) {
    for (String field : SETS) {
      if (config.get(field) instanceof ArrayNode texts) {
        config.set(
            field,
            list(
                new TreeSet<>(
                    StreamSupport.stream(texts.spliterator(), false)
                        .map(JsonNode::asString)
                        .toList())));
      }
    }
    return config;
  }
}
