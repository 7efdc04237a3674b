package espalier.checkpoints.gguf;

/** 8 bits and a scale: x = d q. d in float16, then 32 signed bytes. */
record Q8_0() implements BlockFormat {

  @Override
  public String name() {
    return "Q8_0";
  }

  @Override
  public int elements() {
    return 32;
  }

  @Override
  public int bytes() {
    return 34;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    for (int i = 0; i < 32; i++) {
      to[start + i] = d * from[at + 2 + i];
    }
  }
}
