package espalier.parity;

import espalier.adapters.kappa.Kappa;
import espalier.adapters.kappa.KappaChoice;
import espalier.adapters.kappa.KappaOptions;
import espalier.adapters.kappa.KappaTargets;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Which layers the selection by condition numbers picks. */
final class ConfigKappa implements Experiment {

  @Override
  public Outcome run(Case golden) {
    ObjectNode got = Case.JSON.createObjectNode();
    ArrayNode selections = got.putArray("selections");
    try (PretrainedModel model = GoldenModel.load(golden.model())) {
      var kappa = new Kappa(model.model(), model.adapters().facts(), KappaOptions.defaults());
      for (JsonNode selection : golden.get("selections")) {
        JsonNode args = selection.required("args");
        ObjectNode selected = selections.addObject();
        selected.set("args", args);
        put(selected, kappa.select(choice(args)), false);
      }
      double topP = golden.get("find_kappa_target_modules").required("top_p").asDouble();
      ObjectNode found = got.putObject("find_kappa_target_modules").put("top_p", topP);
      put(found, kappa.select(new KappaChoice.Part(topP)), true);
      put(got.putObject("condition_numbers"), kappa.modules());
      put(got.putObject("parameter_condition_numbers"), kappa.parameters());
    }
    return new Outcome.Values(golden.json(), got);
  }

  private static KappaChoice choice(JsonNode args) {
    if (args.has("num_modules")) {
      return new KappaChoice.Count(args.get("num_modules").asInt());
    }
    if (args.has("top_p")) {
      return new KappaChoice.Part(args.get("top_p").asDouble());
    }
    return args.has("threshold")
        ? new KappaChoice.Threshold(args.get("threshold").asDouble())
        : new KappaChoice.All();
  }

  private static void put(ObjectNode node, KappaTargets found, boolean nullIfNone) {
    ArrayNode modules = node.putArray("target_modules");
    found.modules().forEach(modules::add);
    if (nullIfNone && found.parameters().isEmpty()) {
      node.putNull("target_parameters");
    } else {
      ArrayNode parameters = node.putArray("target_parameters");
      found.parameters().forEach(parameters::add);
    }
  }

  private static void put(ObjectNode node, List<Kappa.Measured> measured) {
    measured.forEach(m -> node.put(m.path(), m.kappa()));
  }
}
