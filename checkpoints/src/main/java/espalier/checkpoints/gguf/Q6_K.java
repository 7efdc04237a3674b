package espalier.checkpoints.gguf;

/**
 * 6 bits in groups of 16 with an 8-bit scale each: x = (d s) (q - 32).
 *
 * <p>128 bytes of the lower four bits, 64 of the upper two, 16 signed scales, then d in float16. A
 * run of 64 bytes of lower bits holds 128 elements, the last 64 of them in the high halves.
 */
record Q6_K() implements BlockFormat {

  @Override
  public String name() {
    return "Q6_K";
  }

  @Override
  public int elements() {
    return 256;
  }

  @Override
  public int bytes() {
    return 210;
  }

  @Override
  public void dequantise(byte[] from, int at, float[] to, int start) {
    float d = Bytes.float16(from, at + 208);
    for (int group = 0; group < 16; group++) {
      float scale = d * from[at + 192 + group];
      int run = group / 8;
      int quarter = group / 2 % 4;
      int half = group % 2 * 16;
      int low = at + run * 64 + quarter % 2 * 32 + half;
      int lowShift = quarter / 2 * 4;
      int high = at + 128 + run * 32 + half;
      int highShift = quarter * 2;
      int x = start + group * 16;
      for (int i = 0; i < 16; i++) {
        int q = ((from[low + i] >> lowShift) & 15) | (((from[high + i] >> highShift) & 3) << 4);
        to[x + i] = scale * (q - 32);
      }
    }
  }
}
