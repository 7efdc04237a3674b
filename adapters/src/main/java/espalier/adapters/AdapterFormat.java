package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Layer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.node.ObjectNode;

/**
 * How a method stands on disk: its fields in {@code adapter_config.json} and its keys in {@code
 * adapter_model.safetensors}, letter for letter as PEFT has them.
 */
public interface AdapterFormat<C extends AdapterConfig> {

  /** What every key of an adapter's file begins with; the path of a layer follows. */
  String KEY_PREFIX = "base_model.model.";

  /** The method's name in files, such as {@code LORA}. */
  String peftType();

  /** The class of its configs. */
  Class<C> configType();

  /** A config from the fields of a file. Fields that are not read are kept as unknown. */
  C read(ConfigFields in);

  /** Writes every field that the reference writes for this method. */
  void write(C config, ConfigWriter out);

  /**
   * Settings that the reference has no field for. A recipe has them beside the others; a folder
   * keeps them in a file of its own, so that {@code adapter_config.json} holds the reference's
   * fields alone.
   */
  default Set<String> ownFields() {
    return Set.of();
  }

  /** The fields of a config of this method, keys sorted, as a file has them. */
  default ObjectNode write(AdapterConfig config) {
    var out = ConfigWriter.empty();
    write(configType().cast(config), out);
    return out.json();
  }

  /**
   * What the keys of each adapted layer begin with, without {@code base_model.model.}; usually the
   * layer's path.
   *
   * @param layers all layers of one adapter by path
   */
  default Map<String, String> keyPrefixes(Map<String, Adaptable> layers) {
    var prefixes = new LinkedHashMap<String, String>();
    layers.keySet().forEach(path -> prefixes.put(path, path));
    return prefixes;
  }

  /**
   * Other keys under which a tensor may stand in a file, without {@code base_model.model.}.
   *
   * @param path the layer's path
   * @param prefix what its keys begin with
   * @param name the tensor's name in the adapter
   */
  default List<String> alternativeKeys(String path, String prefix, String name) {
    String own = Layer.join(path, name);
    return path.equals(prefix) ? List.of() : List.of(own);
  }

  /**
   * Tensors of a file that was written for another layout of the model under the keys of today.
   *
   * @param saved by their key without {@code base_model.model.}; not changed
   * @param layers all layers of the adapter by path
   * @return the map to read from, which the caller may change
   * @throws StateMismatchException if the file has only some of what belongs together
   */
  default Map<String, Tensor> upToDate(Map<String, Tensor> saved, Map<String, Adaptable> layers) {
    return new LinkedHashMap<>(saved);
  }

  /** What is written for one adapter, by name; usually its state. */
  default Map<String, Tensor> saved(Adapter adapter) {
    return adapter.state();
  }

  /** The names of what is written for one adapter. */
  default Set<String> savedNames(Adapter adapter) {
    return saved(adapter).keySet();
  }
}
