package espalier.checkpoints.gguf;

/**
 * 3 bits in groups of 16 with a 6-bit scale each: x = d (s - 32) q, with q from -4 to 3.
 *
 * <p>32 bytes of third bits (set where q is not negative), 64 bytes of the lower two, 12 of scales,
 * then d in float16.
 */
record Q3_K() implements BlockFormat {

  @Override
  public String name() {
    return "Q3_K";
  }

  @Override
  public int elements() {
    return 256;
  }

  @Override
  public int bytes() {
    return 110;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at + 108);
    for (int group = 0; group < 16; group++) {
      float scale = d * (scale(from, at + 96, group) - 32);
      int shift = group / 2 % 4 * 2;
      int high = at + group % 2 * 16;
      int low = at + 32 + group / 8 * 32 + group % 2 * 16;
      int x = start + group * 16;
      for (int i = 0; i < 16; i++) {
        int q = ((from[low + i] >> shift) & 3) - ((~from[high + i] >> (group / 2)) & 1) * 4;
        to[x + i] = scale * q;
      }
    }
  }

  /** Six bits of a group: four in the halves of the first 8 bytes, two in the last 4 bytes. */
  private static int scale(byte[] from, int scales, int group) {
    int low = (from[scales + group % 8] >> (group / 8 * 4)) & 15;
    int high = (from[scales + 8 + group % 4] >> (group / 4 * 2)) & 3;
    return low | (high << 4);
  }
}
