#!/usr/bin/env python3
"""tests/golden/make_gguf_types.py: writes the blocks of tests/golden/gguf_types.

For each type of GGUF that prefixd reads there is a file NAME.bin: blocks of random bits whose scales are
finite, and after them the numbers of these blocks in float32, as the library gguf dequantises them. It needs
numpy and gguf 0.19 (PyPI). The files are the same at every run.
"""

import pathlib

import gguf
import numpy

FOLDER = pathlib.Path(__file__).resolve().parent / "gguf_types"
# Name to the offsets of the float16 fields in a block.
TYPES = {
    "F32": [], "F16": [0], "BF16": [], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "IQ4_NL": [0], "MXFP4": [], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
    "Q6_K": [208], "IQ4_XS": [0],
}  # yapf: disable
ELEMENTS = 512


def blocks(random, name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if name in ("F32", "BF16"):
        bits = random.standard_normal(ELEMENTS, dtype=numpy.float32).view(numpy.uint32)
        return (bits if name == "F32" else (bits >> 16).astype(numpy.uint16)).view(numpy.uint8)
    data = random.integers(0, 256, (ELEMENTS // elements, size), dtype=numpy.uint8)
    for offset in TYPES[name]:
        bits = random.integers(0, 1 << 16, len(data), dtype=numpy.uint16)
        bits[(bits & 0x7C00) == 0x7C00] ^= 0x4000  # no infinity and no NaN
        data[:, offset:offset + 2] = bits.view(numpy.uint8).reshape(-1, 2)
    if name == "MXFP4":
        data[:, 0] = numpy.resize([0, 1, 2, 3, 120, 127, 130, 200], len(data))  # exponents
    return data.reshape(-1)


def main():
    FOLDER.mkdir(exist_ok=True)
    for seed, name in enumerate(TYPES):
        data = blocks(numpy.random.default_rng(seed), name)
        numbers = gguf.dequantize(data, gguf.GGMLQuantizationType[name]).astype(numpy.float32).reshape(-1)
        assert numbers.size == ELEMENTS and numpy.isfinite(numbers).all(), name
        (FOLDER / f"{name}.bin").write_bytes(data.tobytes() + numbers.tobytes())


if __name__ == "__main__":
    main()
