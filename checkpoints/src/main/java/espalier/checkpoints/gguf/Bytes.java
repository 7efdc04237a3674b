package espalier.checkpoints.gguf;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** Little-endian numbers in an array of bytes. */
final class Bytes {

  private static final VarHandle SHORT = view(short[].class);
  private static final VarHandle INT = view(int[].class);
  private static final VarHandle LONG = view(long[].class);

  private Bytes() {}

  static short int16(byte[] from, int at) {
    return (short) SHORT.get(from, at);
  }

  static int int32(byte[] from, int at) {
    return (int) INT.get(from, at);
  }

  static long int64(byte[] from, int at) {
    return (long) LONG.get(from, at);
  }

  static float float16(byte[] from, int at) {
    return Float.float16ToFloat(int16(from, at));
  }

  private static VarHandle view(Class<?> array) {
    return MethodHandles.byteArrayViewVarHandle(array, ByteOrder.LITTLE_ENDIAN);
  }
}
