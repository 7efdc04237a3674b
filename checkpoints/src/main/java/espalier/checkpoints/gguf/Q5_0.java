package espalier.checkpoints.gguf;

/**
 * 5 bits and a scale: x = d (q - 16). d in float16, 4 bytes of fifth bits, 16 of the lower four.
 */
record Q5_0() implements BlockFormat {

  @Override
  public String name() {
    return "Q5_0";
  }

  @Override
  public int elements() {
    return 32;
  }

  @Override
  public int bytes() {
    return 22;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    int high = Bytes.int32(from, at + 2);
    for (int i = 0; i < 16; i++) {
      int q = from[at + 6 + i];
      to[start + i] = d * (fifth(q, high >> i) - 16);
      to[start + 16 + i] = d * (fifth(q >> 4, high >> (i + 16)) - 16);
    }
  }

  /** The lower four bits of {@code low} under the lowest of {@code high}. */
  static int fifth(int low, int high) {
    return (low & 15) | ((high & 1) << 4);
  }
}
