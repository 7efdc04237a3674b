package espalier.checkpoints.gguf;

/**
 * 5 bits, a scale and a minimum: x = d q + m. d and m in float16, 4 bytes of fifth bits, 16 of the
 * lower four.
 */
record Q5_1() implements BlockFormat {

  @Override
  public String name() {
    return "Q5_1";
  }

  @Override
  public int elements() {
    return 32;
  }

  @Override
  public int bytes() {
    return 24;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    float m = Bytes.float16(from, at + 2);
    int high = Bytes.int32(from, at + 4);
    for (int i = 0; i < 16; i++) {
      int q = from[at + 8 + i];
      to[start + i] = d * Q5_0.fifth(q, high >> i) + m;
      to[start + 16 + i] = d * Q5_0.fifth(q >> 4, high >> (i + 16)) + m;
    }
  }
}
