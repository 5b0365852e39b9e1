#!/usr/bin/env python3
"""tests/golden/make_gguf_pres.py VOCABULARY: writes tests/golden/gguf_pres/NAME.out.

VOCABULARY is ggml-vocab-gpt-2.gguf, of the reference data. For each name of NAMES the file gets it as
tokenizer.ggml.pre, and llama.cpp gives the ids of the texts in VOCABULARY.inp: a line for each text. It needs
llama-cpp-python 0.3.36 (PyPI).
"""

import pathlib
import struct
import sys
import tempfile

import llama_cpp

FOLDER = pathlib.Path(__file__).resolve().parent / "gguf_pres"
NAMES = ("smollm",)
OWN = "gpt-2"
KEY = b"tokenizer.ggml.pre" + struct.pack("<I", 8)  # and the type of a text
BETWEEN = "\n__ggml_vocab_test__\n"


def text_value(text):
    return struct.pack("<Q", len(text)) + text.encode()


def ids(file, texts):
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    for text in texts:
        data = text.encode()
        found = (llama_cpp.llama_token * (len(data) + 1))()
        count = llama_cpp.llama_tokenize(vocabulary, data, len(data), found, len(found), False, True)
        yield found[:count]


def main():
    path = pathlib.Path(sys.argv[1])
    bytes_of_file = path.read_bytes()
    texts = path.with_name(path.name + ".inp").read_text(encoding="utf-8").removesuffix(BETWEEN)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in NAMES:
            file = pathlib.Path(scratch) / f"{name}.gguf"
            before, after = bytes_of_file.split(KEY + text_value(OWN))
            file.write_bytes(before + KEY + text_value(name) + after)
            lines = [" ".join(map(str, of_text)) for of_text in ids(file, texts.split(BETWEEN))]
            (FOLDER / f"{name}.out").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
