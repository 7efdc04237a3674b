package espalier.checkpoints.gguf;

/**
 * 2 bits in groups of 16 with a 4-bit scale and minimum each: x = (d s) q - (dmin m).
 *
 * <p>16 bytes of s (low half) and m (high half), 64 bytes of q, then d and dmin in float16. A run
 * of 32 bytes of q holds 128 elements: their first 32 in the lowest two bits, and so on.
 */
record Q2_K() implements BlockFormat {

  @Override
  public String name() {
    return "Q2_K";
  }

  @Override
  public int elements() {
    return 256;
  }

  @Override
  public int bytes() {
    return 84;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at + 80);
    float dmin = Bytes.float16(from, at + 82);
    for (int group = 0; group < 16; group++) {
      int packed = from[at + group];
      float scale = d * (packed & 15);
      float minimum = dmin * ((packed >> 4) & 15);
      int shift = group / 2 % 4 * 2;
      int q = at + 16 + group / 8 * 32 + group % 2 * 16;
      int x = start + group * 16;
      for (int i = 0; i < 16; i++) {
        to[x + i] = scale * ((from[q + i] >> shift) & 3) - minimum;
      }
    }
  }
}
