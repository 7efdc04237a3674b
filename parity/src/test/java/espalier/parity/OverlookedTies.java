package espalier.parity;

import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.Modules;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Ties that {@code ensure_weight_tying} asks for and the reference does not see. It looks for the
 * names {@code embed_tokens} and {@code lm_head} among those of a config, so that it misses layers
 * that are called otherwise, or that a config it wrote itself calls otherwise. Here the layers
 * themselves count. Such a case has the numbers of an adapter that ties nothing, and is run as one.
 */
final class OverlookedTies {

  private static final List<String> KNOWN = List.of("embed_tokens", "lm_head");

  private OverlookedTies() {}

  /** Whether the reference overlooks that a config is about tied layers. */
  static boolean in(JsonNode config, Model model) {
    return asks(config)
        && !model.tiedWeights().isEmpty()
        && !config.hasNonNull("trainable_token_indices")
        && !known(config.path("modules_to_save"))
        && !known(config.path("target_modules"));
  }

  /**
   * Whether a case expects all layers of a tie to be trained, whatever its config was turned into
   * while it was made.
   */
  static boolean kept(JsonNode expected, Model model) {
    var trained = new HashSet<String>();
    expected.path("targeted_modules").forEach(path -> trained.add(path.asString() + ".weight"));
    expected.path("wrapped_modules").forEach(path -> trained.add(path.asString() + ".weight"));
    return model.tiedWeights().stream().anyMatch(trained::containsAll);
  }

  private static boolean asks(JsonNode config) {
    return config.path("ensure_weight_tying").asBoolean(false);
  }

  private static boolean known(JsonNode names) {
    if (names.isString()) {
      return KNOWN.stream().anyMatch(known -> known.matches(names.asString()));
    }
    for (JsonNode name : names) {
      if (KNOWN.stream().anyMatch(known -> Modules.endsWith(name.asString(), known))) {
        return true;
      }
    }
    return false;
  }

  /** The config without the wish. */
  static ObjectNode without(JsonNode config) {
    return config.asObject().deepCopy().put("ensure_weight_tying", false);
  }

  /** Loads an adapter as one that ties nothing; what the file has of followers finds no place. */
  static LoadResult load(PretrainedModel model, String name, Path folder, LoadOptions options) {
    ObjectNode config = without(config(folder));
    return model.adapters().load(name, Adapting.config(config), saved(folder), options);
  }

  static JsonNode config(Path folder) {
    return Case.JSON.readTree(folder.resolve("adapter_config.json"));
  }

  private static Map<String, Tensor> saved(Path folder) {
    return Case.read(folder.resolve("adapter_model.safetensors"));
  }

  /**
   * Whether an adapter has whole weights of tied layers that its config does not name. The
   * reference writes them into the base when it loads them, and disabling the adapter does not take
   * them out.
   */
  static boolean overwritesBase(Path folder) {
    JsonNode config = config(folder);
    if (!asks(config)) {
      return false;
    }
    var named = new ArrayList<String>();
    config.path("modules_to_save").forEach(name -> named.add(name.asString()));
    Set<String> keys = saved(folder).keySet();
    return !named.isEmpty()
        && keys.stream()
            .filter(key -> key.endsWith(".weight") && !key.contains(".lora_"))
            .map(key -> key.substring(0, key.length() - ".weight".length()))
            .anyMatch(path -> named.stream().noneMatch(name -> Modules.endsWith(path, name)))
        && !known(config.path("modules_to_save"));
  }
}
