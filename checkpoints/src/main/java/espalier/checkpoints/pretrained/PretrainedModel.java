package espalier.checkpoints.pretrained;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.Attached;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.ModelFacts;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.ModelSource;
import espalier.checkpoints.OriginalWeights;
import espalier.models.Model;
import espalier.models.NewRows;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.text.Tokenizer;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A model from a checkpoint with its tokenizer and its adapters.
 *
 * <pre>{@code
 * try (var model = PretrainedModel.load(Path.of("SmolLM2-135M"), ScalarType.BFloat16)) {
 *   model.loadAdapter("poems", Path.of("poems"));
 * }
 * }</pre>
 */
public final class PretrainedModel implements AutoCloseable {

  private final String name;
  private final GrowingTokens tokens;
  private final Adapters adapters;
  private final AdapterCatalog catalog;

  private PretrainedModel(String name, ModelParts parts, AdapterCatalog catalog) {
    this.name = name;
    tokens = new GrowingTokens(name, parts);
    this.catalog = catalog;
    adapters = Adapters.of(parts.model(), facts(name, parts));
  }

  private static ModelFacts facts(String name, ModelParts parts) {
    Model model = parts.model();
    return ModelFacts.of(model.modelType())
        .withEmbeddings(model.inputEmbedding().orElse(null), model.outputHead().orElse(null))
        .withTied(TiedLayers.of(model))
        .withName(name, null)
        .withVocabulary(parts.vocabulary())
        .withAutoMapping(parts.autoMapping());
  }

  /**
   * Loads a model.
   *
   * @param path a folder as Transformers writes it, or a GGUF file
   * @param dtype float32, bfloat16, float16 or float64; weights that have it already are mapped,
   *     not copied
   * @throws CheckpointException if a file is missing, damaged or refused
   * @throws IllegalArgumentException if the config names something that would change the result and
   *     is not honoured
   */
  public static PretrainedModel load(Path path, ScalarType dtype) {
    return load(path, dtype, path.toString(), AdapterCatalog.standard());
  }

  /** Loads a model that is known by another name than its path, with methods of the caller's. */
  public static PretrainedModel load(
      Path path, ScalarType dtype, String name, AdapterCatalog catalog) {
    return load(path, dtype, Quantisation.NONE, name, catalog);
  }

  /**
   * Loads a model whose linear layers hold their weights in another form.
   *
   * @param dtype of all other weights, and of products
   * @throws IllegalArgumentException also if the checkpoint has no such form to keep
   */
  public static PretrainedModel load(
      Path path, ScalarType dtype, Quantisation quantisation, String name, AdapterCatalog catalog) {
    ModelParts parts = ModelParts.load(path, dtype, quantisation);
    try {
      return new PretrainedModel(name, parts, catalog);
    } catch (RuntimeException | Error e) {
      parts.close();
      throw e;
    }
  }

  /**
   * Loads a model by the name that a user gave: a folder, a GGUF file, {@code hub:} or {@code
   * pip:}.
   *
   * @param progress told, line by line, what is fetched
   */
  public static PretrainedModel load(String source, ScalarType dtype, Consumer<String> progress) {
    return load(source, dtype, Quantisation.NONE, progress);
  }

  /** As above, with linear layers that hold their weights in another form. */
  public static PretrainedModel load(
      String source, ScalarType dtype, Quantisation quantisation, Consumer<String> progress) {
    ModelSource parsed = ModelSource.parse(source);
    String name = parsed instanceof ModelSource.Hub(var repo, var _) ? repo : source;
    return load(parsed.resolve(progress), dtype, quantisation, name, AdapterCatalog.standard());
  }

  /**
   * Makes the values that quantised weights stand for the model's weights, so that what is merged
   * into them afterwards is not rounded to a form again. Nothing may be merged yet.
   */
  public void dequantise() {
    model()
        .walk(
            (_, layer) -> {
              if (layer instanceof Linear linear) {
                linear.dequantise();
              }
            });
  }

  /** Bytes that the quantised weights take, shared ones once; 0 without any. */
  public long quantisedBytes() {
    return QuantisedSize.of(model()).bytes();
  }

  /** How many numbers the quantised weights stand for, shared ones once; 0 without any. */
  public long quantisedNumbers() {
    return QuantisedSize.of(model()).numbers();
  }

  /**
   * The weights that this model was loaded from, as its folder has them, for what looks at how they
   * differ from those that are in the model, such as {@link espalier.adapters.lora.Loftq}.
   *
   * @return to be closed
   * @throws CheckpointException if the folder is not there any more, or the model is a GGUF file,
   *     which has no others than the rounded ones
   */
  public OriginalWeights originalWeights() {
    if (tokens.parts().path().toString().endsWith(".gguf")) {
      throw CheckpointException.in(
          tokens.parts().path(),
          "holds no weights but those in its blocks; open the weights that it was made from with"
              + " OriginalWeights.open");
    }
    return OriginalWeights.open(tokens.parts().path());
  }

  /** The path or the hub's name that it was loaded by. */
  public String name() {
    return name;
  }

  /** The model itself. */
  public Model model() {
    return tokens.parts().model();
  }

  /** The tokenizer, if the checkpoint has one. */
  public Optional<Tokenizer> findTokenizer() {
    return Optional.ofNullable(tokens.parts().tokenizer());
  }

  /**
   * The tokenizer.
   *
   * @throws CheckpointException if the checkpoint has none
   */
  public Tokenizer tokenizer() {
    return tokens.tokenizer();
  }

  /**
   * Adds tokens to the tokenizer and, where they have no row yet, to the embeddings: for words and
   * markers that the model is to learn. The former {@link #tokenizer} is closed. Train the new rows
   * with {@code trainable_token_indices}: then the file has these rows and no embedding, and the
   * tokenizer is saved beside it, so that {@link #loadAdapter} adds the tokens again.
   *
   * @param tokens texts; those that the tokenizer has are passed over
   * @param special whether decoding can leave them out
   * @param rows what stands in rows that are added
   * @return the ids of {@code tokens}, in their order
   * @throws IllegalStateException if rows are missing and adapters are on the embeddings already;
   *     nothing is changed
   */
  public List<Integer> addTokens(List<String> tokens, boolean special, NewRows rows) {
    return this.tokens.add(tokens, special, rows);
  }

  /**
   * The tokens that a tokenizer beside an adapter has after all of the model's; none if there is no
   * tokenizer, or it is no extension of the model's.
   */
  public List<String> missingTokens(Path folder) {
    return tokens.missing(folder);
  }

  /**
   * Adds the {@linkplain #missingTokens tokens} that an adapter in a folder was trained with, as
   * {@link #loadAdapter} does by itself: for callers who read text, or split the model, before.
   *
   * @throws IllegalStateException if rows are missing and adapters are on the embeddings already;
   *     nothing is changed
   */
  public void adoptTokens(Path folder) {
    tokens.adopt(folder);
  }

  /** The adapters: everything that can be done with them. */
  public Adapters adapters() {
    return adapters;
  }

  /** The methods that are known. */
  public AdapterCatalog catalog() {
    return catalog;
  }

  /** Puts a new adapter on the model and makes it the active one, trainable. */
  public Attached attach(String adapter, AdapterConfig config, long seed) {
    return adapters.attach(adapter, config, seed);
  }

  /** Loads an adapter for use; the first one becomes active. */
  public LoadResult loadAdapter(String adapter, Path folder) {
    return loadAdapter(adapter, folder, LoadOptions.defaults());
  }

  /**
   * Loads an adapter. Tokens that were added when it was trained, which a tokenizer beside it
   * tells, are added first, and {@link #tokenizer} is another one then.
   */
  public LoadResult loadAdapter(String adapter, Path folder, LoadOptions options) {
    return tokens.with(
        folder, () -> AdapterFiles.load(adapters, adapter, folder, catalog, options));
  }

  /**
   * Loads an adapter for use by the name that a user gave: a folder, {@code hub:} or {@code pip:}.
   *
   * @param progress told, line by line, what is fetched
   * @see AdapterSource
   */
  public LoadResult loadAdapter(String adapter, String source, Consumer<String> progress) {
    return loadAdapter(adapter, AdapterSource.parse(source).resolve(progress));
  }

  /**
   * Puts the adapter of a folder in the place of one that is loaded, which keeps its name; forward
   * passes under way end with the old one.
   *
   * @see Adapters#swap
   */
  public LoadResult swapAdapter(String adapter, Path folder) {
    return AdapterFiles.swap(adapters, adapter, folder, catalog);
  }

  /**
   * Saves an adapter as a folder that PEFT reads, and either loads on the untouched base. Where
   * tokens were added, the tokenizer lies beside it; embeddings that have rows for them are saved
   * along unless the adapter trained all of these rows.
   */
  public void saveAdapter(String adapter, Path folder) {
    saveAdapter(adapter, folder, SaveStart.AUTO);
  }

  /** Saves an adapter as a folder, as trained or converted. */
  public void saveAdapter(String adapter, Path folder, SaveStart start) {
    boolean whole = tokens.newOnesIn(adapters.config(adapter).tokens());
    saveAdapter(adapter, folder, start, whole ? SaveEmbeddings.NO : SaveEmbeddings.AUTO);
  }

  /** Saves an adapter as a folder, with or without the base's embeddings. */
  public void saveAdapter(String adapter, Path folder, SaveStart start, SaveEmbeddings embeddings) {
    AdapterFiles.save(adapters, adapter, folder, catalog, start, embeddings);
    tokens.saveTokenizer(folder, adapters.ranks());
  }

  /**
   * Saves the model as a folder that Transformers reads: what is merged is in it, other adapters
   * are not.
   *
   * @param dtype of the weights, or null for that of the model
   */
  public void save(Path folder, @Nullable ScalarType dtype) {
    tokens.parts().save(folder, dtype);
  }

  /** The layer at a path, or null. */
  public @Nullable Layer find(String path) {
    return tokens.parts().model().find(path);
  }

  @Override
  public void close() {
    tokens.parts().close();
  }
}
