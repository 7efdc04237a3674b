package espalier.checkpoints;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.adapters.StateMismatchException;
import espalier.adapters.TargetException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.Collective;
import espalier.nn.Scope;
import espalier.text.FileContentsException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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

  /** The adapter that {@link #saveAll} writes into the folder itself. */
  public static final String DEFAULT = "default";

  /** The folder beside them for first values that loading could not work out again. */
  public static final String INITIAL = "initial";

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
   * @throws CheckpointException if it is missing, no JSON object, or names no method
   * @throws ConfigException if the method or a field is wrong
   */
  public static AdapterCatalog.Read readConfig(Path folder, AdapterCatalog catalog) {
    ObjectNode fields = fields(folder);
    try {
      String type = fields.path("peft_type").asString("");
      if (catalog.knows(type) && !catalog.format(type).ownFields().isEmpty()) {
        Sidecar.settings(folder).forEach(fields::putIfAbsent);
      }
      return catalog.read(fields);
    } catch (IllegalArgumentException e) {
      Path file = folder.resolve(CONFIG);
      if (!fields.path("peft_type").isString()) {
        throw new CheckpointException("%s: %s".formatted(file, e.getMessage()), e);
      }
      throw in(file, e, new FileContentsException("%s: %s".formatted(file, e.getMessage()), e));
    }
  }

  private static IllegalArgumentException in(Path where, IllegalArgumentException error) {
    return in(where, error, error);
  }

  /** The same kind of error, with the file or folder that it is about. */
  private static IllegalArgumentException in(
      Path where, IllegalArgumentException error, Throwable cause) {
    String message = "%s: %s".formatted(where, error.getMessage());
    IllegalArgumentException named =
        switch (error) {
          case ConfigException config ->
              new ConfigException(
                  config.violations().stream().map(each -> where + ": " + each).toList());
          case StateMismatchException _ -> new StateMismatchException(message);
          case TargetException _ -> new TargetException(message);
          case AdapterException _ -> new AdapterException(message);
          case UnsupportedAdapterException _ -> new UnsupportedAdapterException(message);
          default -> new IllegalArgumentException(message);
        };
    named.initCause(cause);
    return named;
  }

  private static ObjectNode fields(Path folder) {
    Path file = folder.resolve(CONFIG);
    try {
      JsonNode node = JSON.readTree(Files.readAllBytes(file));
      if (node instanceof ObjectNode object) {
        return object;
      }
      throw CheckpointException.in(file, "is not a JSON object but " + node.getNodeType());
    } catch (NoSuchFileException e) {
      throw new CheckpointException(
          "%s has no %s; an adapter's folder holds it beside %s".formatted(folder, CONFIG, TENSORS),
          e);
    } catch (IOException e) {
      throw CannotRead.of(file, e);
    } catch (JacksonException e) {
      throw new CheckpointException(
          "%s is not JSON: %s".formatted(file, e.getOriginalMessage()), e);
    }
  }

  /**
   * Loads the adapter of a folder onto a model.
   *
   * @throws IllegalStateException if its start takes something out of the base, and this base is
   *     not the one that it was first put on
   */
  public static LoadResult load(
      Adapters adapters, String name, Path folder, AdapterCatalog catalog, LoadOptions options) {
    AdapterCatalog.Read read = readConfig(folder, catalog);
    PickleRefusal.checkFolder(folder);
    requireBase(adapters, folder, read.config());
    try (var _ = Scope.open()) {
      Map<String, Tensor> first = read.config().unrepeatableStart() ? initial(folder) : Map.of();
      try {
        return adapters.load(name, read.config(), tensors(folder), first, options);
      } catch (IllegalArgumentException e) {
        throw in(folder, e);
      }
    }
  }

  /**
   * Refuses a base that is not the one that the adapter of a folder was first put on, before the
   * adapter is loaded. Without a sketch of the base in the folder, or where the start takes nothing
   * out of it, nothing is refused.
   *
   * @throws IllegalStateException naming a layer whose weight is another
   */
  public static void requireBase(Adapters adapters, Path folder, AdapterConfig config) {
    if (config.needsItsBase()) {
      adapters.requireBase("the adapter of " + folder, Sidecar.base(folder));
    }
  }

  /**
   * The same before tensors of a folder take the place of those of an adapter that is there: both
   * must have started on one base.
   */
  public static void requireBaseOf(
      Adapters adapters, String name, Path folder, AdapterConfig config) {
    if (config.needsItsBase()) {
      adapters.requireBaseOf(name, "the adapter of " + folder, Sidecar.base(folder));
    }
  }

  /**
   * Puts the adapter of a folder in the place of one on a model; see {@link Adapters#swap}.
   *
   * @throws IllegalStateException if they started on different bases
   * @throws IllegalArgumentException naming the folder, if the two do not go together; nothing is
   *     changed
   */
  public static LoadResult swap(
      Adapters adapters, String name, Path folder, AdapterCatalog catalog) {
    AdapterCatalog.Read read = readConfig(folder, catalog);
    PickleRefusal.checkFolder(folder);
    requireBaseOf(adapters, name, folder, read.config());
    try (var _ = Scope.open()) {
      try {
        return adapters.swap(name, read.config(), tensors(folder));
      } catch (IllegalArgumentException e) {
        throw in(folder, e);
      }
    }
  }

  /**
   * First values that lie beside an adapter because its start could not be repeated without them,
   * by their key, in the caller's scope; empty if there are none.
   */
  public static Map<String, Tensor> initial(Path folder) {
    Path initial = folder.resolve(INITIAL).resolve(TENSORS);
    return Files.exists(initial) ? tensors(initial) : Map.of();
  }

  private static Map<String, Tensor> tensors(Path fileOrFolder) {
    try (TensorFile file = TensorFile.open(fileOrFolder)) {
      return file.tensors();
    }
  }

  /**
   * Saves one adapter of a model as a folder that loading puts back on the untouched base: a start
   * that could not be repeated is converted to plain LoRA.
   */
  public static void save(Adapters adapters, String name, Path folder, AdapterCatalog catalog) {
    save(adapters, name, folder, catalog, SaveStart.AUTO);
  }

  /**
   * Saves one adapter of a model as a folder. Where several ranks compute the model, all of them
   * must call this, and rank 0 writes what one rank alone would write.
   *
   * @param start what becomes of a start that took something out of the base; where it can not be
   *     repeated and is not converted, its first values are saved under {@code initial}
   */
  public static void save(
      Adapters adapters, String name, Path folder, AdapterCatalog catalog, SaveStart start) {
    save(adapters, name, folder, catalog, start, SaveEmbeddings.AUTO);
  }

  /** As above, with or without the base's embeddings. */
  public static void save(
      Adapters adapters,
      String name,
      Path folder,
      AdapterCatalog catalog,
      SaveStart start,
      SaveEmbeddings embeddings) {
    try (var _ = Scope.open()) {
      AdapterContents contents = adapters.contents(name, start, embeddings);
      Collective ranks = adapters.ranks();
      if (ranks == null) {
        write(contents, folder, catalog);
      } else {
        ranks.first(() -> write(contents, folder, catalog));
      }
    }
  }

  /**
   * Saves several adapters of a model as PEFT does: {@code default} in the folder itself, each
   * other one in a folder of its name below, and a {@code README.md} unless one is there.
   *
   * @throws espalier.adapters.AdapterException naming those that the model does not have, before
   *     anything is written
   */
  public static void saveAll(
      Adapters adapters, Collection<String> names, Path folder, AdapterCatalog catalog) {
    adapters.requireAll(names);
    for (String name : names) {
      save(adapters, name, name.equals(DEFAULT) ? folder : folder.resolve(name), catalog);
    }
    var configs = new LinkedHashMap<String, AdapterConfig>();
    names.forEach(name -> configs.put(name, adapters.config(name)));
    Collective ranks = adapters.ranks();
    if (ranks == null) {
      AdapterCard.write(folder, configs);
    } else {
      ranks.first(() -> AdapterCard.write(folder, configs));
    }
  }

  /**
   * Writes what an adapter consists of as a folder. An adapter that is there already stays as it
   * was if that fails, and leaves nothing of its own behind if it does not; other files of the
   * folder are left alone.
   *
   * @throws CheckpointException if it can not be written
   */
  public static void write(AdapterContents contents, Path folder, AdapterCatalog catalog) {
    requireFactors(contents.tensors(), folder);
    String initial = INITIAL + "/" + TENSORS;
    try (var staged = new StagedFiles(folder, List.of(initial, TENSORS, Sidecar.FILE, CONFIG))) {
      if (!contents.initial().isEmpty()) {
        SafetensorsWriter.write(staged.file(initial), contents.initial());
      }
      SafetensorsWriter.write(staged.file(TENSORS), contents.tensors());
      writeConfig(contents, staged, catalog);
      staged.commit();
    }
  }

  private static void writeConfig(
      AdapterContents contents, StagedFiles staged, AdapterCatalog catalog) {
    ObjectNode fields = catalog.write(contents.config());
    ObjectNode own = JSON.createObjectNode();
    for (String field : contents.config().format().ownFields()) {
      if (fields.has(field)) {
        own.set(field, fields.remove(field));
      }
    }
    Sidecar.write(staged.file(Sidecar.FILE), contents.base(), own);
    fields.put("inference_mode", true);
    AtomicFiles.write(
        staged.file(CONFIG),
        JSON.writer().with(printer()).writeValueAsString(PythonNumbers.in(fields)));
  }

  /** Refuses factors that no reader could multiply, before anything is written. */
  private static void requireFactors(Map<String, Tensor> tensors, Path folder) {
    tensors.forEach(
        (key, tensor) -> {
          boolean factor =
              (key.contains(".lora_A") || key.contains(".lora_B")) && !key.endsWith(".bias");
          if (factor && (tensor.dim() < 2 || tensor.numel() == 0)) {
            throw new CheckpointException(
                "%s of %s is %s but a factor has 2 dimensions or more and is not empty; nothing was written, attach the adapter again"
                    .formatted(key, folder, Arrays.toString(tensor.shape())));
          }
        });
  }

  /** As PEFT writes: keys sorted, two spaces. */
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
