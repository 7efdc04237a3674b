package espalier.cli;

import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.SavedModule;
import espalier.adapters.TokenAdapter;
import espalier.adapters.abba.AbbaConfig;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.gralora.GraloraConfig;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
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

  /** Singular values below this part of the largest are rounding of float32. */
  private static final double ZERO = 1e-6;

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
    ranks().forEach(row::put);
    if (config instanceof LoraConfig lora && own()) {
      row.put("scaling", lora.scalingAt(path));
    }
    return row.put("parameters", parameters());
  }

  // A layer that trains whole, or rows of an embedding, has nothing of the method's.
  private boolean own() {
    return !(adapter instanceof SavedModule) && !(adapter instanceof TokenAdapter);
  }

  /** The ranks on this layer by their names in the config; none where it trains whole. */
  Map<String, Integer> ranks() {
    var ranks = new LinkedHashMap<String, Integer>();
    if (!own()) {
      return ranks;
    }
    switch (config) {
      case LoraConfig lora -> ranks.put("r", lora.rankAt(path));
      case HiraConfig hira -> ranks.put("r", hira.rankPattern().at(path, hira.r()));
      case HiraSbConfig hirasb -> ranks.put("r", hirasb.rankPattern().at(path, hirasb.r()));
      case GraloraConfig gralora -> {
        ranks.put("r", gralora.rankPattern().at(path, gralora.r()));
        if (gralora.hybridR() > 0) {
          ranks.put("hybrid_r", gralora.hybridR());
        }
      }
      case AbbaConfig abba -> {
        ranks.put("r1", abba.r1());
        ranks.put("r2", abba.r2());
      }
      default -> {
        JsonNode r = AdapterCatalog.standard().write(config).get("r");
        if (r != null && r.canConvertToInt()) {
          ranks.put("r", r.asInt());
        }
      }
    }
    return ranks;
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

  /**
   * The singular values of what merging would add to the weight, falling, without those that are
   * rounding of zero; none for an update that is zero or not finite.
   */
  List<Double> spectrum() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Tensor update = adapter.deltaWeight().to(ScalarType.Float);
      Tensor matrix = update.dim() > 1 ? update.flatten(1, -1) : update.view(1, -1);
      if (matrix.numel() == 0 || !matrix.isfinite().all().item_bool()) {
        return List.of();
      }
      Tensor values = linalg_svdvals(matrix).to(ScalarType.Double).contiguous().cpu();
      double[] all = new double[Math.toIntExact(values.numel())];
      values.data_ptr_double().get(all);
      double least = Math.max(all[0] * ZERO, Double.MIN_NORMAL);
      return Arrays.stream(all).takeWhile(value -> value > least).boxed().toList();
    }
  }

  /** The Frobenius norm of the weight itself. */
  double weightNorm() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return adapter.layer().originalWeight().to(ScalarType.Float).norm().item_double();
    }
  }
}
