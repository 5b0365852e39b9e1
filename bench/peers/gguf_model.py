"""Writes the weights of a model folder as a GGUF file: the same numbers, for servers that read that format.

    gguf_model.py FOLDER bf16|f16|q8_0|q4_0 FILE

It runs in an environment that has the packages gguf and numpy. FOLDER is one of make_model's Llamas. Matrices
get the format, embeddings included; norms are float32. It holds one tensor at a time as float32.
"""

import json
import pathlib
import struct
import sys

import gguf
import numpy

CONTROL, NORMAL = 3, 1  # types of tokens
FORMATS = {"bf16": ("BF16", "MOSTLY_BF16"), "f16": ("F16", "MOSTLY_F16"), "q8_0": ("Q8_0", "MOSTLY_Q8_0"),
           "q4_0": ("Q4_0", "MOSTLY_Q4_0")}
PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
TOPS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in TOPS:
        return TOPS[name]
    _, _, layer, *part, _ = name.split(".")
    return f"blk.{layer}.{PARTS['.'.join(part)]}.weight"


def pair_rotary(rows, heads):
    """GGUF's Llama rotates neighbours, Hugging Face's rotates halves: the rows of a head change places."""
    head = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return head.swapaxes(1, 2).reshape(rows.shape)


class Weights:
    """The tensors of model.safetensors, which are bf16."""

    def __init__(self, path):
        self.file = open(path, "rb")
        length, = struct.unpack("<Q", self.file.read(8))
        self.tensors = json.loads(self.file.read(length))
        self.tensors.pop("__metadata__", None)
        self.begin = 8 + length

    def read(self, name):
        entry = self.tensors[name]
        if entry["dtype"] != "BF16":
            sys.exit(f"{name} is {entry['dtype']}; make the model with --dtype bf16")
        begin, end = entry["data_offsets"]
        self.file.seek(self.begin + begin)
        halves = numpy.frombuffer(self.file.read(end - begin), dtype="<u2")
        return (halves.astype(numpy.uint32) << 16).view(numpy.float32).reshape(entry["shape"])


def add_tokenizer(writer, folder, config):
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    texts = {number: text for text, number in tokenizer["model"]["vocab"].items()} | added
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[number] for number in range(config["vocab_size"])])
    writer.add_token_types([CONTROL if number in added else NORMAL for number in range(config["vocab_size"])])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    writer.add_chat_template(settings["chat_template"])


def main(folder, weights_format, path):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        sys.exit(f"{folder} is a {config['model_type']}; only llama is written")
    kind, file_type = FORMATS[weights_format]
    kind = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=True)
    writer.add_name(folder.name)
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    add_tokenizer(writer, folder, config)
    weights = Weights(folder / "model.safetensors")
    for name in weights.tensors:
        tensor = weights.read(name)
        if tensor.ndim == 1:
            writer.add_tensor(gguf_name(name), tensor)
            continue
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                tensor = pair_rotary(tensor, config[heads])
        writer.add_tensor(gguf_name(name), gguf.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
