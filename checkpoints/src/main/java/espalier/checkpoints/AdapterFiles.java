package espalier.checkpoints;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.catalog.AdapterCatalog;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.util.DefaultIndenter;
import tools.jackson.core.util.DefaultPrettyPrinter;
import tools.jackson.core.util.Separators;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Adapter folders as PEFT writes them: {@code adapter_config.json} beside the tensors. */
public final class AdapterFiles {

  /** The config's file name. */
  public static final String CONFIG = "adapter_config.json";

  /** The tensors' file name. */
  public static final String TENSORS = "adapter_model.safetensors";

  private static final JsonMapper JSON =
      JsonMapper.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

  private AdapterFiles() {}

  /** Whether a folder holds an adapter of a method that the catalog knows. */
  public static boolean isAdapterFolder(Path folder, AdapterCatalog catalog) {
    try {
      JsonNode type = fields(folder).get("peft_type");
      return type != null && type.isString() && catalog.knows(type.stringValue());
    } catch (CheckpointException e) {
      return false;
    }
  }

  /**
   * Reads the config of a folder.
   *
   * @throws CheckpointException if it is missing or no JSON object
   * @throws IllegalArgumentException if the method or a field is wrong
   */
  public static AdapterCatalog.Read readConfig(Path folder, AdapterCatalog catalog) {
    try {
      return catalog.read(fields(folder));
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "%s: %s".formatted(folder.resolve(CONFIG), e.getMessage()), e);
    }
  }

  private static ObjectNode fields(Path folder) {
    Path file = folder.resolve(CONFIG);
    try {
      JsonNode node = JSON.readTree(Files.readAllBytes(file));
      if (node instanceof ObjectNode object) {
        return object;
      }
      throw CheckpointException.in(file, "is not a JSON object but " + node.getNodeType());
    } catch (IOException e) {
      throw new CheckpointException(
          "%s has no %s; an adapter's folder holds it beside %s".formatted(folder, CONFIG, TENSORS),
          e);
    } catch (JacksonException e) {
      throw new CheckpointException(
          "%s is not JSON: %s".formatted(file, e.getOriginalMessage()), e);
    }
  }

  /** Loads the adapter of a folder onto a model. */
  public static LoadResult load(
      Adapters adapters, String name, Path folder, AdapterCatalog catalog, LoadOptions options) {
    AdapterCatalog.Read read = readConfig(folder, catalog);
    PickleRefusal.checkFolder(folder);
    try (TensorFile file = TensorFile.open(folder);
        var _ = espalier.nn.Scope.open()) {
      var tensors = new LinkedHashMap<String, Tensor>();
      file.entries().keySet().forEach(key -> tensors.put(key, file.tensor(key)));
      try {
        return adapters.load(name, read.config(), tensors, options);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException("%s: %s".formatted(folder, e.getMessage()), e);
      }
    }
  }

  /** Saves one adapter of a model as a folder. */
  public static void save(Adapters adapters, String name, Path folder, AdapterCatalog catalog) {
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new CheckpointException("%s can not be made: %s".formatted(folder, e), e);
    }
    try (var _ = espalier.nn.Scope.open()) {
      SafetensorsWriter.write(folder.resolve(TENSORS), adapters.state(name));
    }
    writeConfig(adapters.config(name), folder, catalog);
  }

  /** Writes a config as PEFT does: keys sorted, two spaces, for use only. */
  public static void writeConfig(AdapterConfig config, Path folder, AdapterCatalog catalog) {
    ObjectNode fields = catalog.write(config);
    fields.put("inference_mode", true);
    AtomicFiles.write(
        folder.resolve(CONFIG), JSON.writer().with(printer()).writeValueAsString(fields));
  }

  private static DefaultPrettyPrinter printer() {
    var indenter = new DefaultIndenter("  ", "\n");
    var separators =
        Separators.createDefaultInstance()
            .withObjectNameValueSpacing(Separators.Spacing.AFTER)
            .withArrayEmptySeparator("")
            .withObjectEmptySeparator("");
    return new DefaultPrettyPrinter(separators)
        .withObjectIndenter(indenter)
        .withArrayIndenter(indenter);
  }
}
