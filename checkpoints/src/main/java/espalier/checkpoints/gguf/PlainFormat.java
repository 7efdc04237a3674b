package espalier.checkpoints.gguf;

/** Numbers stored one by one. Wider ones than float32 are rounded to it. */
enum PlainFormat implements BlockFormat {
  F32(4) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Float.intBitsToFloat(Bytes.int32(from, at));
    }
  },
  F16(2) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Bytes.float16(from, at);
    }
  },
  BF16(2) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Float.intBitsToFloat(Bytes.int16(from, at) << 16);
    }
  },
  F64(8) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = (float) Double.longBitsToDouble(Bytes.int64(from, at));
    }
  },
  I8(1) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = from[at];
    }
  },
  I16(2) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Bytes.int16(from, at);
    }
  },
  I32(4) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Bytes.int32(from, at);
    }
  },
  I64(8) {
    @Override
    public void dequantise(byte[] from, int at, float[] to, int start) {
      to[start] = Bytes.int64(from, at);
    }
  };

  private final int bytes;

  PlainFormat(int bytes) {
    this.bytes = bytes;
  }

  @Override
  public int elements() {
    return 1;
  }

  @Override
  public int bytes() {
    return bytes;
  }
}
