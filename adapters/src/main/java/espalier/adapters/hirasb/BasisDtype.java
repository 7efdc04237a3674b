package espalier.adapters.hirasb;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What the frozen bases are rounded to before anything is made of them. */
public enum BasisDtype {
  /** Not at all: {@code float32}. */
  FLOAT32,
  /** To bfloat16, which halves the file: {@code bfloat16}. */
  BFLOAT16;

  /** The nearest numbers of this dtype, in the dtype of the tensor. */
  Tensor rounded(Tensor tensor) {
    return this == FLOAT32
        ? tensor
        : tensor.to(ScalarType.BFloat16).to(tensor.scalar_type().intern());
  }

  /** As the file holds them. */
  Tensor stored(Tensor tensor) {
    return this == FLOAT32 ? tensor : tensor.to(ScalarType.BFloat16);
  }
}
