"""Writes the expected values that FourBitTest and DynamicMapTest compare with.

    pip install bitsandbytes==0.50.2 torch
    python make_four_bit_golden.py ../resources/fourbit

For each form NAME, of the weight [260, 66] that weight() draws: NAME.packed, its codes; NAME.absmax,
the float32 scales of the blocks; NAME.values, the float32 numbers of the last 1000 codes; and with
the scales quantised too NAME.scales, their codes, and NAME.doubled, those numbers again. The numbers
of a block end inside of a row, and the last block is short. dynamic.signed and dynamic.positive are
the 256 values of 8-bit dynamic quantisation, float32.
"""

import sys
from pathlib import Path

import torch
from bitsandbytes.functional import create_dynamic_map, dequantize_4bit, quantize_4bit

SHAPE = (260, 66)


def weight():
    """The same numbers as FourBitTest draws: products of two numbers in [-0.5, 0.5)."""
    state, numbers = 1, []
    for _ in range(SHAPE[0] * SHAPE[1]):
        factors = []
        for _ in range(2):
            state = (state * 1664525 + 1013904223) % 2**32
            factors.append(((state >> 8) - 2**23) / 2**24)
        numbers.append(factors[0] * factors[1])
    return torch.tensor(numbers, dtype=torch.float64).float().view(SHAPE)


def write(path, tensor):
    path.write_bytes(tensor.contiguous().view(-1).numpy().tobytes())


folder = Path(sys.argv[1])
w = weight()
for form in ("nf4", "fp4"):
    packed, state = quantize_4bit(w, blocksize=64, quant_type=form)
    write(folder / f"{form}.packed", packed)
    write(folder / f"{form}.absmax", state.absmax)
    write(folder / f"{form}.values", dequantize_4bit(packed, state).view(-1)[-1000:])
    packed, state = quantize_4bit(w, blocksize=64, quant_type=form, compress_statistics=True)
    write(folder / f"{form}.scales", state.absmax)
    write(folder / f"{form}.doubled", dequantize_4bit(packed, state).view(-1)[-1000:])
for name, signed in (("signed", True), ("positive", False)):
    write(folder / f"dynamic.{name}", create_dynamic_map(signed=signed))
