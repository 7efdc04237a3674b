package espalier.parity;

import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Where a config case names the same thing otherwise than the library does. */
final class ConfigDepartures {

  private final ObjectNode expected;
  private final Function<String, @Nullable Layer> at;

  /**
   * What a case expects, to be changed in place.
   *
   * @param at the model's layer at a path, or null
   */
  ConfigDepartures(ObjectNode expected, Function<String, @Nullable Layer> at) {
    this.expected = expected;
    this.at = at;
  }

  void apply() {
    layersOfContainers();
    weightsAreLayers();
    biasesOnce();
  }

  /** A container that is saved whole is one wrapper there, and here all layers below it are. */
  private void layersOfContainers() {
    var paths = new TreeSet<String>();
    for (JsonNode module : expected.required("wrapped_modules")) {
      String path = module.asString();
      Layer layer = at.apply(path);
      if (layer == null || !layer.parameters().isEmpty()) {
        paths.add(path);
      } else {
        layer
            .layers()
            .forEach(
                (below, leaf) -> {
                  if (!leaf.parameters().isEmpty()) {
                    paths.add(Layer.join(path, below));
                  }
                });
      }
    }
    replace("wrapped_modules", List.copyOf(paths));
  }

  /** LoRA on the weight of a linear layer is LoRA on the layer. */
  private void weightsAreLayers() {
    String suffix = ".weight";
    ObjectNode scaling = expected.required("scaling").asObject();
    replace(
        "targeted_parameters",
        strings("targeted_parameters")
            .map(
                parameter -> {
                  boolean weight = parameter.endsWith(suffix);
                  String path =
                      weight
                          ? parameter.substring(0, parameter.length() - suffix.length())
                          : parameter;
                  if (!weight || !(at.apply(path) instanceof Linear)) {
                    return parameter;
                  }
                  JsonNode module = expected.required("modules").required(path);
                  scaling.set(path, module.required("scaling").required("default"));
                  return path;
                })
            .toList());
  }

  /** With {@code bias: all} the reference writes the biases of layers saved whole thrice. */
  private void biasesOnce() {
    ObjectNode file = expected.required("adapter_file").asObject();
    List.copyOf(file.propertyNames()).stream()
        .filter(Departures::repeatsBias)
        .forEach(file::remove);
  }

  private Stream<String> strings(String field) {
    return expected.required(field).values().stream().map(JsonNode::asString);
  }

  private void replace(String field, List<String> texts) {
    ArrayNode list = expected.putArray(field);
    texts.forEach(list::add);
  }
}
