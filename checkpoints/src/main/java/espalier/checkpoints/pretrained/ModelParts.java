package espalier.checkpoints.pretrained;

import espalier.adapters.AutoMapping;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.SafetensorsWriter;
import espalier.checkpoints.TensorFile;
import espalier.checkpoints.gguf.GgufFile;
import espalier.checkpoints.gguf.GgufModel;
import espalier.checkpoints.gguf.GgufTokenizer;
import espalier.models.Families;
import espalier.models.Model;
import espalier.nn.Adaptable;
import espalier.nn.Layer;
import espalier.nn.Native;
import espalier.nn.Scope;
import espalier.nn.Weights;
import espalier.text.FileContentsException;
import espalier.text.Tokenizer;
import espalier.text.TokenizerSettings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * What a checkpoint is made of, whatever form it came in.
 *
 * @param config the contents of {@code config.json}
 * @param source what the weights are mapped from; closed with the model
 */
record ModelParts(
    Model model,
    @Nullable Tokenizer tokenizer,
    Map<String, Object> config,
    AutoCloseable source,
    Path path)
    implements AutoCloseable {

  static ModelParts load(Path path, ScalarType dtype, Quantisation quantisation) {
    return switch (dtype) {
      case Float, BFloat16, Half, Double ->
          Files.isDirectory(path)
              ? folder(path, dtype, quantisation)
              : gguf(path, dtype, quantisation);
      default ->
          throw new IllegalArgumentException(
              "a model runs in f32, bf16 or f16 but %s was asked for".formatted(dtype));
    };
  }

  private static ModelParts folder(Path folder, ScalarType dtype, Quantisation quantisation) {
    Map<String, Object> config = JsonObjects.read(folder.resolve("config.json"));
    TensorFile file = TensorFile.open(folder);
    if (quantisation == Quantisation.KEEP && !KeptFloat8.isIn(file)) {
      file.close();
      throw new IllegalArgumentException(
          "quantize is keep, which keeps a GGUF file's own blocks and weights in float8, but %s is a folder of plain weights; use nf4 or int8, or name a .gguf file"
              .formatted(folder));
    }
    Model model = null;
    try {
      model = Families.build(config, weights(file, dtype, config, quantisation));
      Tokenizer tokenizer =
          Files.exists(folder.resolve("tokenizer.json")) ? Tokenizer.load(folder) : null;
      return new ModelParts(model, tokenizer, config, file, folder);
    } catch (RuntimeException | Error e) {
      closeAll(model, file::close);
      if (e instanceof IllegalArgumentException && !(e instanceof FileContentsException)) {
        throw new FileContentsException(folder + ": " + e.getMessage(), e);
      }
      throw e;
    }
  }

  private static Weights weights(
      TensorFile file, ScalarType dtype, Map<String, Object> config, Quantisation quantisation) {
    var plain = new FolderWeights(file, dtype);
    return quantisation == Quantisation.KEEP
        ? new KeptFloat8(plain, transposed(config))
        : quantised(plain, config, quantisation);
  }

  private static Weights quantised(
      Weights plain, Map<String, Object> config, Quantisation quantisation) {
    return quantisation == Quantisation.NONE
        ? plain
        : new QuantisedWeights(plain, quantisation, transposed(config));
  }

  private static boolean transposed(Map<String, Object> config) {
    return "gpt2".equals(config.get("model_type"));
  }

  private static ModelParts gguf(Path path, ScalarType dtype, Quantisation quantisation) {
    if (!path.toString().endsWith(".gguf")) {
      throw CheckpointException.in(
          path,
          Files.exists(path)
              ? "is neither a folder nor a .gguf file; name the model's folder"
              : "does not exist; name a model's folder or a .gguf file");
    }
    Native.prepare();
    GgufFile file = GgufFile.open(path);
    Model model = null;
    try {
      GgufModel gguf = GgufModel.of(file);
      Weights weights =
          quantisation == Quantisation.KEEP
              ? new KeptBlocks(gguf, dtype)
              : quantised(
                  key -> gguf.has(key) ? gguf.tensor(key, dtype) : null,
                  gguf.config(),
                  quantisation);
      model = Families.build(gguf.config(), weights);
      var files = GgufTokenizer.read(file);
      Tokenizer tokenizer =
          Tokenizer.of(files.tokenizerJson(), TokenizerSettings.of(files.tokenizerConfig()));
      return new ModelParts(model, tokenizer, new LinkedHashMap<>(gguf.config()), file, path);
    } catch (RuntimeException | Error e) {
      closeAll(model, file::close);
      throw e;
    }
  }

  /** The model first, as its weights may lie in the mapped file. */
  private static void closeAll(@Nullable Model model, Runnable file) {
    if (model != null) {
      model.close();
    }
    file.run();
  }

  /** Tokens that the checkpoint has; the model has others once its embeddings were resized. */
  int vocabulary() {
    Object size = config.get("vocab_size");
    return size instanceof Number number ? number.intValue() : model.config().vocabulary();
  }

  ModelParts withTokenizer(Tokenizer other) {
    return new ModelParts(model, other, config, source, path);
  }

  /** The Python class that the config names, for adapters of models without a task. */
  @Nullable AutoMapping autoMapping() {
    Object architectures = config.get("architectures");
    if (!(architectures instanceof List<?> list) || list.isEmpty()) {
      return null;
    }
    String folder =
        switch (model.modelType()) {
          case "gemma3_text" -> "gemma3";
          default -> model.modelType();
        };
    return new AutoMapping(
        String.valueOf(list.getFirst()),
        "transformers.models.%s.modeling_%s".formatted(folder, folder));
  }

  void save(Path folder, @Nullable ScalarType dtype) {
    if (model.layers().values().stream().anyMatch(ModelParts::isPart)) {
      throw new IllegalStateException(
          "this rank has a part of the model only and can not save it; save the adapter, and merge"
              + " it in a process that has the whole model");
    }
    AtomicFiles.createFolder(folder);
    ScalarType target = dtype == null ? model.dtype() : dtype;
    var written = new LinkedHashMap<>(config);
    written.remove("quantization_config");
    written.put("dtype", dtypeName(target));
    written.remove("torch_dtype");
    BlockFields.rewrite(written, model.sources(), model.blockKinds());
    if (vocabulary() != model.config().vocabulary()) {
      written.put("vocab_size", model.config().vocabulary());
    }
    try (var _ = Scope.open()) {
      var weights = CheckpointKeys.of(model);
      if (weights.untied()) {
        if (model.modelType().equals("t5")) { // there "not tied" also means "logits not scaled"
          boolean scaled = !Boolean.FALSE.equals(written.get("tie_word_embeddings"));
          written.putIfAbsent("scale_decoder_outputs", scaled);
        }
        written.put("tie_word_embeddings", false);
      }
      var tensors = new LinkedHashMap<String, Tensor>();
      weights.tensors().forEach((key, t) -> tensors.put(key, FolderWeights.inDtype(t, target)));
      SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors);
    }
    AtomicFiles.write(
        folder.resolve("config.json"),
        JsonMapper.shared().writerWithDefaultPrettyPrinter().writeValueAsString(written) + "\n");
    if (tokenizer != null) {
      tokenizer.save(folder);
    }
    Path generation = path.resolve("generation_config.json");
    if (Files.isDirectory(path) && Files.exists(generation)) {
      try {
        AtomicFiles.write(folder.resolve("generation_config.json"), Files.readAllBytes(generation));
      } catch (IOException e) {
        throw new CheckpointException("%s can not be read: %s".formatted(generation, e), e);
      }
    }
  }

  private static boolean isPart(Layer layer) {
    return layer instanceof Adaptable adaptable
        && adaptable.partition() != null
        && adaptable.partition().splits();
  }

  private static String dtypeName(ScalarType dtype) {
    return switch (dtype) {
      case BFloat16 -> "bfloat16";
      case Half -> "float16";
      case Double -> "float64";
      default -> "float32";
    };
  }

  @Override
  public void close() {
    model.close();
    if (tokenizer != null) {
      tokenizer.close();
    }
    try {
      source.close();
    } catch (Exception e) {
      throw new CheckpointException("%s can not be closed: %s".formatted(path, e), e);
    }
  }

  /** Reads JSON objects. */
  static final class JsonObjects {
    private JsonObjects() {}

    @SuppressWarnings("unchecked")
    static Map<String, Object> read(Path file) {
      try {
        return JsonMapper.shared().readValue(Files.readAllBytes(file), LinkedHashMap.class);
      } catch (IOException e) {
        throw new CheckpointException(
            "%s can not be read: %s; a model folder holds config.json beside its weights"
                .formatted(file, e.getClass().getSimpleName()),
            e);
      } catch (JacksonException e) {
        throw new CheckpointException(
            "%s is not a JSON object: %s".formatted(file, e.getOriginalMessage()), e);
      }
    }
  }
}
