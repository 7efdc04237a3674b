package espalier.checkpoints.gguf;

/**
 * 5 bits in groups of 32 with a 6-bit scale and minimum each: x = (d s) q - (dmin m).
 *
 * <p>As {@link Q4_K}, with 32 bytes of fifth bits before the lower four: bit g of byte i belongs to
 * element i of group g.
 */
record Q5_K() implements BlockFormat {

  @Override
  public String name() {
    return "Q5_K";
  }

  @Override
  public int elements() {
    return 256;
  }

  @Override
  public int bytes() {
    return 176;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    float dmin = Bytes.float16(from, at + 2);
    for (int group = 0; group < 8; group++) {
      float scale = d * Q4_K.scale(from, at + 4, group);
      float minimum = dmin * Q4_K.minimum(from, at + 4, group);
      int shift = group % 2 * 4;
      int high = at + 16;
      int low = at + 48 + group / 2 * 32;
      int x = start + group * 32;
      for (int i = 0; i < 32; i++) {
        int q = Q5_0.fifth(from[low + i] >> shift, from[high + i] >> group);
        to[x + i] = scale * q - minimum;
      }
    }
  }
}
