package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import espalier.nn.QuantisedWeight;
import espalier.nn.Scope;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A GGUF file in Hugging Face's form: the config, and the weights under the names and in the
 * layouts that a checkpoint on the hub has. Read are the architectures llama (with Mistral and
 * Mixtral), qwen2, qwen3, qwen3moe, gemma3 and gpt2.
 *
 * <p>What the file's converter did is undone: the order of the rows of llama's query and key
 * projections, the 1 that was added to gemma3's norms, the transposition of gpt2's projections, and
 * the stacking of experts. A setting or a tensor that would change the model's numbers and has no
 * place in that form is refused by its name.
 *
 * <pre>{@code
 * try (var file = GgufFile.open(path)) {
 *   var model = GgufModel.of(file);
 *   Tensor q = model.tensor("model.layers.0.self_attn.q_proj.weight", ScalarType.BFloat16);
 * }
 * }</pre>
 */
public final class GgufModel {

  private final GgufFile file;
  private final Map<String, Object> config;
  private final Map<String, TensorSource> sources;

  private GgufModel(GgufFile file, Converted converted) {
    this.file = file;
    config = Collections.unmodifiableMap(converted.config()); // holds nulls
    sources = converted.sources();
  }

  /**
   * Reads a file as a model. The file must stay open while tensors are read.
   *
   * @throws CheckpointException if its architecture is not read, if a tensor is missing, or if it
   *     has a setting or tensor that would change the model's numbers and is not honoured
   */
  public static GgufModel of(GgufFile file) {
    refuseOthersThanModels(file);
    return new GgufModel(file, Architecture.of(file).convert(file));
  }

  /** The file that it is read from. */
  public GgufFile file() {
    return file;
  }

  /**
   * What the model's {@code config.json} would say: {@link Long}, {@link Double}, {@link Boolean},
   * {@link String}, {@link List} and {@link Map} values, and null where JSON has null.
   */
  public Map<String, Object> config() {
    return config;
  }

  /** The names of all tensors, as in a checkpoint on the hub. A tied head is not among them. */
  public List<String> names() {
    return List.copyOf(sources.keySet());
  }

  /** Whether there is a tensor of that name. */
  public boolean has(String name) {
    return sources.containsKey(name);
  }

  /** The tensor's shape, without reading it. */
  public List<Long> shape(String name) {
    return source(name).resultShape();
  }

  /** How the tensor's numbers are stored. */
  public BlockFormat format(String name) {
    return source(name).info().format();
  }

  /**
   * Reads a tensor. It belongs to the current scope, like any other.
   *
   * @param name as in a checkpoint on the hub
   * @param dtype any floating one; what is neither float32 nor bfloat16 is rounded from float32
   * @return [as {@link #shape}]
   */
  public Tensor tensor(String name, ScalarType dtype) {
    return read(source(name), dtype);
  }

  private Tensor read(TensorSource source, ScalarType dtype) {
    return switch (dtype.intern()) {
      case Half, Double -> Scope.result(() -> file.read(source, ScalarType.Float).to(dtype));
      default -> file.read(source, dtype);
    };
  }

  /**
   * Reads some rows of a tensor, in Hugging Face's order, so that a weight can stay quantised and
   * be read piece by piece. gpt2's transposed projections have no rows that could be read alone.
   *
   * @param name as in a checkpoint on the hub
   * @param fromRow the first row, from 0
   * @param toRow the row after the last
   * @param dtype as for {@link #tensor}
   * @return [toRow - fromRow, row]
   */
  public Tensor dequantiseRows(String name, long fromRow, long toRow, ScalarType dtype) {
    return read(source(name).rows(fromRow, toRow), dtype);
  }

  /**
   * A matrix in the blocks in which the file has it, to be decoded some rows at a time while the
   * file is open; or null if it is stored as plain numbers, or with its rows spread over the file.
   *
   * @param name as in a checkpoint on the hub
   * @param dtype of products with it
   */
  public @Nullable QuantisedWeight quantised(String name, ScalarType dtype) {
    TensorSource source = source(name);
    boolean readable =
        source.resultShape().size() == 2
            && !(source.info().format() instanceof PlainFormat)
            && !(source.layout() instanceof Layout.Transposed);
    return readable ? new GgufWeight(this, name, dtype) : null;
  }

  private TensorSource source(String name) {
    TensorSource source = sources.get(name);
    if (source == null) {
      throw new IllegalArgumentException(
          "%s has no tensor %s; GgufModel.names() lists those that it has"
              .formatted(file.path(), name));
    }
    return source;
  }

  private static void refuseOthersThanModels(GgufFile file) {
    GgufMetadata metadata = file.metadata();
    String type = metadata.findString("general.type").orElse("model");
    if (!type.equals("model")) {
      throw CheckpointException.in(
          file.path(), "general.type is %s, but only a model can be read as one".formatted(type));
    }
    long parts = metadata.integer("split.count", 0);
    if (parts > 1) {
      throw CheckpointException.in(
          file.path(),
          "the file is one of %d parts; merge them into one, for example with llama-gguf-split"
              .formatted(parts));
    }
    long version = metadata.integer("general.quantization_version", 2);
    if (version != 2) {
      throw metadata.refused(
          "general.quantization_version",
          "is %d, but the blocks of version 2 are read; quantise the model again"
              .formatted(version));
    }
  }
}
