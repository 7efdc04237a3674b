package espalier.checkpoints.gguf;

/** 4 bits, a scale and a minimum: x = d q + m. d and m in float16, then 16 bytes of 32 q. */
record Q4_1() implements BlockFormat {

  @Override
  public String name() {
    return "Q4_1";
  }

  @Override
  public int elements() {
    return 32;
  }

  @Override
  public int bytes() {
    return 20;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    float m = Bytes.float16(from, at + 2);
    for (int i = 0; i < 16; i++) {
      int q = from[at + 4 + i];
      to[start + i] = d * (q & 15) + m;
      to[start + 16 + i] = d * ((q >> 4) & 15) + m;
    }
  }
}
