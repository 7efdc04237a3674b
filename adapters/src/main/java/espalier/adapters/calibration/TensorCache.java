package espalier.adapters.calibration;

import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * Where tensors that took long to compute are kept between runs, such as in files. Names are what
 * the user wrote, mostly paths.
 */
public interface TensorCache {

  /**
   * The tensors that are kept under a name, in the scope of the caller, or nothing if none are.
   *
   * @throws RuntimeException if what is there can not be read
   */
  Optional<Map<String, Tensor>> read(String name);

  /** Keeps tensors under a name, all or nothing. */
  void write(String name, Map<String, Tensor> tensors);

  /** Keeps nothing. */
  static TensorCache none() {
    return new TensorCache() {
      @Override
      public Optional<Map<String, Tensor>> read(String name) {
        return Optional.empty();
      }

      @Override
      public void write(String name, Map<String, Tensor> tensors) {
        throw new IllegalArgumentException(
            "%s is to be kept but nothing is given to keep files in; pass a cache, or leave the file's name out"
                .formatted(name));
      }
    };
  }
}
