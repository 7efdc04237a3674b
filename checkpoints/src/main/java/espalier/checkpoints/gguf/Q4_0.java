package espalier.checkpoints.gguf;

/** 4 bits and a scale: x = d (q - 8). Scale d in float16, then 16 bytes of 32 q. */
record Q4_0() implements BlockFormat {

  @Override
  public String name() {
    return "Q4_0";
  }

  @Override
  public int elements() {
    return 32;
  }

  @Override
  public int bytes() {
    return 18;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    for (int i = 0; i < 16; i++) {
      int q = from[at + 2 + i];
      to[start + i] = d * ((q & 15) - 8);
      to[start + 16 + i] = d * (((q >> 4) & 15) - 8);
    }
  }
}
