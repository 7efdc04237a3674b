package espalier.adapters.lora;

import java.util.Arrays;
import org.bytedeco.pytorch.Tensor;

/** Whether a value that was computed from data belongs to the layer it is given to. */
final class PreparedShape {

  private PreparedShape() {}

  /**
   * Checks a value.
   *
   * @param what what it is called in the message
   * @param way why it may be wrong and how to mend it
   * @throws IllegalStateException if it has another shape or is not finite
   */
  static void require(String path, String what, Tensor value, String way, long... shape) {
    if (!Arrays.equals(value.shape(), shape)) {
      throw new IllegalStateException(
          "%s: %s is %s but %s is needed; %s"
              .formatted(path, what, Arrays.toString(value.shape()), Arrays.toString(shape), way));
    }
    if (!value.isfinite().all().item_bool()) { // waits for the device: once a value
      throw new IllegalStateException(
          "%s: %s has entries that are not finite; %s".formatted(path, what, way));
    }
  }
}
