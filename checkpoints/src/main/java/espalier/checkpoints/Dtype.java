package espalier.checkpoints;

import java.util.Arrays;
import java.util.stream.Collectors;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The number types of the safetensors format. Their order is the format's: a writer puts the last
 * ones first, so that every tensor is aligned.
 */
enum Dtype {
  BOOL(8, ScalarType.Bool),
  F4(4, ScalarType.Float4_e2m1fn_x2), // two to a byte, and libtorch counts the bytes
  F6_E2M3(6, null),
  F6_E3M2(6, null),
  U8(8, ScalarType.Byte),
  I8(8, ScalarType.Char),
  F8_E5M2(8, ScalarType.Float8_e5m2),
  F8_E4M3(8, ScalarType.Float8_e4m3fn),
  F8_E8M0(8, ScalarType.Float8_e8m0fnu),
  F8_E4M3FNUZ(8, ScalarType.Float8_e4m3fnuz),
  F8_E5M2FNUZ(8, ScalarType.Float8_e5m2fnuz),
  I16(16, ScalarType.Short),
  U16(16, ScalarType.UInt16),
  F16(16, ScalarType.Half),
  BF16(16, ScalarType.BFloat16),
  I32(32, ScalarType.Int),
  U32(32, ScalarType.UInt32),
  F32(32, ScalarType.Float),
  C64(64, ScalarType.ComplexFloat),
  F64(64, ScalarType.Double),
  I64(64, ScalarType.Long),
  U64(64, ScalarType.UInt64);

  final int bits;
  final @Nullable ScalarType scalarType;

  Dtype(int bits, @Nullable ScalarType scalarType) {
    this.bits = bits;
    this.scalarType = scalarType;
  }

  /** The type of that name, or null. */
  static @Nullable Dtype named(String name) {
    for (Dtype dtype : values()) {
      if (dtype.name().equals(name)) {
        return dtype;
      }
    }
    return null;
  }

  /** The type that libtorch calls {@code type}, or null if the format has none. */
  static @Nullable Dtype of(ScalarType type) {
    for (Dtype dtype : values()) {
      if (dtype.scalarType != null && dtype.scalarType.value == type.value) {
        return dtype;
      }
    }
    return null;
  }

  static String names() {
    return Arrays.stream(values()).map(Dtype::name).collect(Collectors.joining(", "));
  }
}
