package espalier.parity;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.shira.ShiraConfig;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** From what the cases say of adapters to adapters on a model. */
final class Adapting {

  static final AdapterCatalog CATALOG = AdapterCatalog.standard().with(new ReferenceHira());

  private Adapting() {}

  /** The config that the fields of an {@code adapter_config.json} are. */
  static AdapterConfig config(JsonNode json) {
    return CATALOG.read(json.asObject()).config();
  }

  /** A config in the words of the case list: {@code type} names the method in small letters. */
  static AdapterConfig given(JsonNode json) {
    ObjectNode fields = json.asObject().deepCopy();
    String type = fields.remove("type").asString();
    JsonNode mask = fields.remove("mask");
    AdapterConfig config = config(fields.put("peft_type", type.toUpperCase(Locale.ROOT)));
    return mask != null && config instanceof ShiraConfig shira
        ? shira.withMask("custom", GoldenMask.of(mask.asString()))
        : config;
  }

  /** The cases look at SHiRA's rows and columns, which we leave out where the reference may. */
  static AdapterConfig withIndices(AdapterConfig config) {
    return config instanceof ShiraConfig shira
        ? shira.withOptions(shira.options().withCompact(false))
        : config;
  }

  /** Loads adapters by name from the folders where the reference saved them. */
  static Adapters load(PretrainedModel model, Map<String, Path> folders, boolean trainable) {
    model.adapters().allowMixedMethods();
    folders.forEach(
        (name, folder) -> {
          if (OverlookedTies.in(OverlookedTies.config(folder), model.model())
              && !OverlookedTies.overwritesBase(folder)) {
            OverlookedTies.load(model, name, folder, options(trainable));
          } else {
            requireAll(model.loadAdapter(name, folder, options(trainable)));
          }
        });
    return model.adapters();
  }

  /** Loads an adapter from tensors by their keys in its file. */
  static void load(
      Adapters adapters, String name, AdapterConfig config, Map<String, Tensor> saved) {
    requireAll(adapters.load(name, config, saved, options(true)));
  }

  private static LoadOptions options(boolean trainable) {
    return LoadOptions.defaults().withTrainable(trainable).withStrict(true);
  }

  private static void requireAll(LoadResult result) {
    if (!result.unexpected().isEmpty()) {
      throw new AssertionError("no place was found for " + result.unexpected());
    }
  }
}
