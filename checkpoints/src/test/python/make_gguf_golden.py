"""Writes the expected values that BlockFormatTest compares with.

    pip install "gguf==0.19.*" numpy
    python make_gguf_golden.py ../resources/gguf

For each block format NAME: NAME.blocks, random but valid blocks as a file would hold them, and
NAME.f32, the float32 numbers that the gguf package reads from them. The seed is fixed, so the files
come out the same each time.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# where the float16 scales of a block stand, in bytes; everything else in a block may be any bits
SCALES = {
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
}
# numbers stored one by one; gguf reads the first three, numpy the others
PLAIN = {
    T.F32: None,
    T.F16: None,
    T.BF16: None,
    T.F64: np.float64,
    T.I8: np.int8,
    T.I16: np.int16,
    T.I32: np.int32,
    T.I64: np.int64,
}


def scales(random, n):
    """Finite float16 values of all sizes: mostly those of real files, some tiny, zero or negative."""
    values = random.normal(0, 0.02, n).astype(np.float16)
    odd = random.integers(0, 0x7C00, n).astype(np.uint16)  # any finite positive pattern
    odd |= (random.integers(0, 2, n) << 15).astype(np.uint16)
    return np.where(random.random(n) < 0.3, odd.view(np.float16), values)


def blocks(random, kind, n):
    _, size = GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (n, size), dtype=np.uint8)
    for at in SCALES[kind]:
        data[:, at : at + 2] = scales(random, n).reshape(n, 1).view(np.uint8)
    return data


def plain(random, kind, n):
    if kind is T.F16:
        return scales(random, n).view(np.uint8)
    if kind is T.BF16:
        return (random.normal(0, 1, n).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    if kind in (T.F32, T.F64):
        values = random.normal(0, 1, n) * 10.0 ** random.integers(-30, 30, n)
        return values.astype(np.float32 if kind is T.F32 else np.float64).view(np.uint8)
    info = np.iinfo(PLAIN[kind])
    return random.integers(info.min, info.max, n, dtype=PLAIN[kind], endpoint=True).view(np.uint8)


def main(folder):
    random = np.random.default_rng(20_240_817)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in SCALES:
        data = blocks(random, kind, 8 if GGML_QUANT_SIZES[kind][0] == 256 else 32)
        write(folder, kind, data, dequantize(data, kind))
    for kind, dtype in PLAIN.items():
        data = plain(random, kind, 256)
        values = dequantize(data, kind) if dtype is None else data.view(dtype).astype(np.float32)
        write(folder, kind, data, values)


def write(folder, kind, data, values):
    (folder / f"{kind.name}.blocks").write_bytes(data.tobytes())
    (folder / f"{kind.name}.f32").write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
