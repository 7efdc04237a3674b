package espalier.checkpoints.gguf;

/**
 * 4 bits in groups of 32 with a 6-bit scale and minimum each: x = (d s) q - (dmin m).
 *
 * <p>d and dmin in float16, 12 bytes of s and m, 128 bytes of q. A run of 32 bytes of q holds two
 * groups, one in the low halves and one in the high.
 */
record Q4_K() implements BlockFormat {

  @Override
  public String name() {
    return "Q4_K";
  }

  @Override
  public int elements() {
    return 256;
  }

  @Override
  public int bytes() {
    return 144;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at);
    float dmin = Bytes.float16(from, at + 2);
    for (int group = 0; group < 8; group++) {
      float scale = d * scale(from, at + 4, group);
      float minimum = dmin * minimum(from, at + 4, group);
      int shift = group % 2 * 4;
      int q = at + 16 + group / 2 * 32;
      int x = start + group * 32;
      for (int i = 0; i < 32; i++) {
        to[x + i] = scale * ((from[q + i] >> shift) & 15) - minimum;
      }
    }
  }

  /** The first four groups have theirs in 6 bits whole, the others' upper two are spread there. */
  static int scale(byte[] from, int at, int group) {
    return group < 4
        ? from[at + group] & 63
        : (from[at + 4 + group] & 15) | (((from[at + group - 4] >> 6) & 3) << 4);
  }

  static int minimum(byte[] from, int at, int group) {
    return group < 4
        ? from[at + 4 + group] & 63
        : ((from[at + 4 + group] >> 4) & 15) | (((from[at + group] >> 6) & 3) << 4);
  }
}
