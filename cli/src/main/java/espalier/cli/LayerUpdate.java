package espalier.cli;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What an adapter is on one layer.
 *
 * @param path the layer's path
 * @param adapter what the method put there
 * @param config the adapter's settings
 */
record LayerUpdate(String path, Adapter adapter, AdapterConfig config) {

  private static final Pattern NUMBER = Pattern.compile("(?:^|\\.)(\\d+)(?:\\.|$)");

  /** All layers of an adapter, in the model's order. */
  static List<LayerUpdate> of(Adapters adapters, String name) {
    var updates = new ArrayList<LayerUpdate>();
    AdapterConfig config = adapters.config(name);
    adapters.on(name).forEach((path, on) -> updates.add(new LayerUpdate(path, on, config)));
    return updates;
  }

  /** The number of the block that the layer is in, or 0 for a layer outside of them. */
  int block() {
    Matcher number = NUMBER.matcher(path);
    return number.find() ? Integer.parseInt(number.group(1)) : 0;
  }

  /** What the layer is called in each block, such as {@code q_proj}. */
  String kind() {
    String last = path.substring(path.lastIndexOf('.') + 1);
    for (String side : List.of("encoder", "decoder")) {
      if (path.startsWith(side + ".") || path.contains("." + side + ".")) {
        return side + " " + last;
      }
    }
    return last;
  }

  /** Numbers that the adapter has on this layer. */
  long parameters() {
    return adapter.parameters().values().stream().mapToLong(Tensor::numel).sum();
  }

  /** Layer, shape, rank and scaling where the method has them, and parameters. */
  ObjectNode row() {
    ObjectNode row =
        Output.row()
            .put("layer", path)
            .put("type", adapter.layer().typeName())
            .put("shape", shape());
    switch (config) {
      case LoraConfig lora -> row.put("r", lora.rankAt(path)).put("scaling", lora.scalingAt(path));
      case HiraConfig hira -> row.put("r", (int) hira.rankPattern().at(path, hira.r()));
      default -> {
        JsonNode r = AdapterCatalog.standard().write(config).get("r");
        if (r != null) {
          row.set("r", r);
        }
      }
    }
    return row.put("parameters", parameters());
  }

  private String shape() {
    try (var _ = Scope.open()) {
      Tensor weight = adapter.layer().originalWeight();
      long[] sizes = new long[(int) weight.dim()];
      Arrays.setAll(sizes, weight::size);
      return Arrays.toString(sizes);
    }
  }

  /** The Frobenius norm of what merging would add to the weight. */
  double norm() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return adapter.deltaWeight().norm().item_double();
    }
  }

  /** The Frobenius norm of the weight itself. */
  double weightNorm() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return adapter
          .layer()
          .originalWeight()
          .to(org.bytedeco.pytorch.global.torch.ScalarType.Float)
          .norm()
          .item_double();
    }
  }
}
