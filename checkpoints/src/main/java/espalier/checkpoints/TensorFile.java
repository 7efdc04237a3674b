package espalier.checkpoints;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * Named tensors on disk, read where they lie: {@link SafetensorsFile} is one file, {@link
 * ShardedSafetensors} several that belong together.
 *
 * <pre>{@code
 * try (var file = TensorFile.open(Path.of("SmolLM2-135M"))) {
 *   Tensor head = file.tensor("lm_head.weight");   // lives on after the file is closed
 * }
 * }</pre>
 */
public interface TensorFile extends AutoCloseable {

  /**
   * Opens a safetensors file, or the weights of a model folder or an adapter folder: {@code
   * model.safetensors}, or {@code model.safetensors.index.json} with its shards, or {@code
   * adapter_model.safetensors}.
   *
   * @throws CheckpointException if there are none, or they are broken, or they are pickles
   */
  static TensorFile open(Path fileOrFolder) {
    return Files.isDirectory(fileOrFolder)
        ? TensorFolder.open(fileOrFolder)
        : SafetensorsFile.open(fileOrFolder);
  }

  /** The file, or the index that joins several; named in every error. */
  Path path();

  /** What each tensor is, by name, in the order in which they lie in the file. */
  Map<String, Entry> entries();

  /**
   * The tensor called {@code name}: a fresh handle each call, in the caller's scope, over the
   * file's memory. Writing to it changes what this process sees, never the file.
   *
   * @throws CheckpointException if there is none of that name, or libtorch has no such dtype
   * @throws IllegalStateException if this file is closed
   */
  Tensor tensor(String name);

  /** All tensors by name, in the order in which they lie in the file, in the caller's scope. */
  default Map<String, Tensor> tensors() {
    var tensors = new LinkedHashMap<String, Tensor>();
    entries().keySet().forEach(name -> tensors.put(name, tensor(name)));
    return tensors;
  }

  /** What the writer noted beside the tensors, such as {@code format: pt}. */
  Map<String, String> metadata();

  /**
   * What the tensor called {@code name} is.
   *
   * @throws CheckpointException if there is none of that name
   */
  default Entry entry(String name) {
    Entry entry = entries().get(name);
    if (entry == null) {
      throw CheckpointException.missing(path(), name, entries().keySet());
    }
    return entry;
  }

  /** Whether there is a tensor called {@code name}. */
  default boolean contains(String name) {
    return entries().containsKey(name);
  }

  /** Ends reading. Tensors that were handed out stay valid. */
  @Override
  void close();

  /**
   * A tensor as the file describes it.
   *
   * @param dtype the format's own name: {@code BF16}
   * @param shape sizes, outermost first; empty for a scalar
   * @param begin first byte, counted from where the data of its file begins
   * @param end byte after the last
   */
  @SuppressWarnings("ArrayRecordComponent") // compared by value below
  record Entry(String dtype, long[] shape, long begin, long end) {

    public Entry {
      shape = shape.clone();
    }

    @Override
    public long[] shape() {
      return shape.clone();
    }

    /** How many bytes the tensor takes. */
    public long bytes() {
      return end - begin;
    }

    /** How many elements it has. */
    public long elements() {
      return Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Entry that
          && dtype.equals(that.dtype)
          && Arrays.equals(shape, that.shape)
          && begin == that.begin
          && end == that.end;
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(new long[] {dtype.hashCode(), Arrays.hashCode(shape), begin, end});
    }

    @Override
    public String toString() {
      return "%s %s [%d, %d)".formatted(dtype, Arrays.toString(shape), begin, end);
    }
  }
}
