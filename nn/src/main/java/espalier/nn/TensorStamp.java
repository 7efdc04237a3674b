package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Where a tensor's numbers lie and how often they were written to. What was made from a tensor
 * still holds while its stamp is the same.
 *
 * @param address of the first number
 * @param version libtorch's count of writes
 */
public record TensorStamp(long address, long version) {

  /** How a tensor is now. */
  public static TensorStamp of(Tensor tensor) {
    try (var _ = new PointerScope()) {
      return new TensorStamp(tensor.data_ptr().address(), tensor._version());
    }
  }

  /**
   * Has a tensor that was written past the library, or that was given other storage, look as one
   * that the library has written: autograd sees it, and so does who keeps a stamp.
   */
  static void renew(Tensor tensor) {
    try (var _ = new PointerScope()) {
      tensor.unsafeGetTensorImpl().bump_version();
    }
  }
}
