package espalier.recipes;

import espalier.nn.HalfPrecision;
import java.util.Locale;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The dtypes that a frozen base can have. */
public enum BaseDtype {
  /** 32-bit floats. */
  F32(ScalarType.Float),
  /** 16-bit floats with the range of float32: half the memory, the default. */
  BF16(ScalarType.BFloat16),
  /** 16-bit IEEE floats. */
  F16(ScalarType.Half);

  private final ScalarType type;

  BaseDtype(ScalarType type) {
    this.type = type;
  }

  /** The faster of the two for reading on this processor: bf16, or f32 where bf16 is emulated. */
  public static BaseDtype faster() {
    return HalfPrecision.lacking() ? F32 : BF16;
  }

  /** libtorch's name of it. */
  public ScalarType type() {
    return type;
  }

  /** The name in recipes and on the command line. */
  public String key() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * The dtype of a name.
   *
   * @throws RecipeException if there is none
   */
  public static BaseDtype of(String key) {
    for (BaseDtype dtype : values()) {
      if (dtype.key().equals(key)) {
        return dtype;
      }
    }
    throw new RecipeException("dtype is %s but must be f32, bf16 or f16".formatted(key));
  }
}
