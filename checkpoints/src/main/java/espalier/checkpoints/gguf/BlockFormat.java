package espalier.checkpoints.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * How a tensor's numbers are stored: in blocks of a fixed number of elements and bytes, each of
 * which can be read without the others. The results are those of the reference, bit for bit: the
 * same float32 operations in the same order.
 *
 * @see <a href="https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h">the
 *     layouts</a>
 */
public sealed interface BlockFormat
    permits PlainFormat, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K {

  /** The format's name as the field writes it, such as {@code Q4_K}. */
  String name();

  /** Elements in a block. */
  int elements();

  /** Bytes of a block. */
  int bytes();

  /**
   * Reads one block.
   *
   * @param from holds the block from index {@code at} on
   * @param to takes {@link #elements()} numbers from index {@code start} on
   */
  void dequantise(byte[] from, int at, float[] to, int start);

  /**
   * Reads one block out of native memory.
   *
   * @param from holds the block from byte {@code offset} on
   * @param out takes {@link #elements()} numbers
   */
  default void dequantise(MemorySegment from, long offset, float[] out) {
    byte[] block = new byte[bytes()];
    MemorySegment.copy(from, ValueLayout.JAVA_BYTE, offset, block, 0, block.length);
    dequantise(block, 0, out, 0);
  }
}
