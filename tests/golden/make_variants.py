#!/usr/bin/env python3
"""Makes the checkpoints under tests/golden/variants.

    python3 -m venv /path/to/venv && /path/to/venv/bin/pip install torch transformers safetensors
    /path/to/venv/bin/python tests/golden/make_variants.py [NAME ...]

Each folder is a tiny model with random weights, for one way in which a model of a supported family may
differ. It holds config.json, the weights, expected.json and logits.f32, in the form that golden_case.h reads.
The expected logits and greedy tokens are computed with transformers from the stored weights, in float32, with
eager attention and without a KV cache. Weights are seeded normal values, rounded to the stored type. A seed
is skipped if two logits of a greedy step are almost equal, because another rounding could then change the
token. The same versions give the same bytes; the folders were made with transformers 5.23.0 and torch 2.15.0.
"""
import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "variants"
SMALLEST_GAP = 0.02  # least difference between the two largest logits of a greedy step
GREEDY = 24
LENGTHS = (1, 23, 100)
POSITIONS = ((0, 0), (1, 6), (1, 7), (1, 22), (2, 0), (2, 15), (2, 16), (2, 17), (2, 64), (2, 99))
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

BASE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 101, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2}
CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
           "qwen3": "Qwen3ForCausalLM"}
FULL, SLIDING = "full_attention", "sliding_attention"

# Name: (model_type, changes to BASE, number of shards, dtype of vectors). A change to None removes the key.
# The dtype None means the dtype of the matrices.
VARIANTS = {
    "mistral-window": ("mistral", {"sliding_window": 7}, 1, None),
    "qwen2-partial-window": ("qwen2", {
        "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1,
        "intermediate_size": 31
    }, 1, None),
    "qwen2-tied-odd": ("qwen2", {
        "tie_word_embeddings": True, "vocab_size": 129, "hidden_size": 40, "intermediate_size": 33
    }, 1, "float32"),
    "qwen3-layer-types": ("qwen3", {
        "head_dim": 16, "attention_bias": True, "intermediate_size": 24, "use_sliding_window": True,
        "sliding_window": 16, "layer_types": [SLIDING, FULL], "rope_theta": None,
        "rope_parameters": {"rope_type": "default",
                            "rope_theta": 1000000.0}, "torch_dtype": None, "dtype": "bfloat16"
    }, 1, None),
    "qwen3-default-head": ("qwen3", {
        "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 12, "tie_word_embeddings": True
    }, 1, None),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "torch_dtype": "float16"}, 1, None),
    "llama-gelu": ("llama", {"hidden_act": "gelu_pytorch_tanh"}, 1, None),
    "llama-relu": ("llama", {"hidden_act": "relu"}, 1, None),
    "llama-dynamic": ("llama", {
        "rope_scaling": {"type": "dynamic", "factor": 4.0}, "max_position_embeddings": 128
    }, 1, None),
    "llama-linear-new": ("llama", {
        "rope_theta": None, "rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 500000.0}
    }, 1, None),
    "llama-yarn-mscale": ("llama", {
        "head_dim": 32, "intermediate_size": 40, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rope_scaling": {
            "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 24,
            "beta_slow": 2, "mscale": 1.2, "mscale_all_dim": 0.4, "truncate": False
        }
    }, 1, None),
    "mistral-yarn-attention": ("mistral", {
        "sliding_window": None, "rope_theta": None, "rope_parameters": {
            "rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 32,
            "attention_factor": 1.25, "rope_theta": 10000.0
        }
    }, 1, None),
    "llama-head-80": ("llama", {
        "head_dim": 80, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16
    }, 1, None),
    "llama-head-96": ("llama", {
        "head_dim": 96, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 14
    }, 1, None),
    "llama-head-256": ("llama", {
        "head_dim": 256, "num_attention_heads": 1, "num_key_value_heads": 1, "hidden_size": 10
    }, 1, None),
    "llama-shards": ("llama", {"num_key_value_heads": 4, "vocab_size": 127}, 3, "float32"),
}


def config_of(name):
    model_type, changes, _, _ = VARIANTS[name]
    config = {"architectures": [CLASSES[model_type]], "model_type": model_type} | BASE
    for key, value in changes.items():
        if value is None and key in config:
            del config[key]
        else:
            config[key] = value
    return config


def random_weights(model, generator, stored, vectors):
    weights = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        normal = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.25 * normal
        elif tensor.dim() == 1:
            value = 0.3 * normal
        elif "embed_tokens" in name:
            value = normal
        else:
            gain = 1.7 if "q_proj" in name or "k_proj" in name else 2.0 if "lm_head" in name else 1.0
            value = gain / math.sqrt(tensor.shape[1]) * normal
        weights[name] = value.to(vectors if tensor.dim() == 1 else stored).contiguous()
    return weights


def save(folder, weights, shards):
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    total = sum(t.numel() * t.element_size() for t in weights.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def greedy_of(model, ids, steps):
    tokens, gap = [], math.inf
    for _ in range(steps):
        top = torch.topk(logits_of(model, ids + tokens)[-1], 2)
        gap = min(gap, float(top.values[0] - top.values[1]))
        tokens.append(int(top.indices[0]))
    return tokens, gap


def expect(folder, model, vocab, generator, seed):
    prompts = [{"ids": torch.randint(0, vocab, (n,), generator=generator).tolist()} for n in LENGTHS]
    gap = math.inf
    for prompt in prompts:
        prompt["greedy"], least = greedy_of(model, prompt["ids"], GREEDY)
        gap = min(gap, least)
    if gap < SMALLEST_GAP:
        return False
    logits = [logits_of(model, prompt["ids"]) for prompt in prompts]
    rows = torch.stack([logits[prompt][position] for prompt, position in POSITIONS])
    (folder / "logits.f32").write_bytes(rows.numpy().astype("<f4").tobytes())
    expected = {
        "prompts": prompts,
        "logits": {"file": "logits.f32", "shape": list(rows.shape), "max_abs": float(rows.abs().max()),
                   "rows": [{"prompt": prompt, "position": position} for prompt, position in POSITIONS]},
        "min_gap": gap, "seed": seed,
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}}
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    return True


def make(name):
    _, _, shards, vectors = VARIANTS[name]
    config = config_of(name)
    stored = config.get("dtype") or config["torch_dtype"]
    folder = FOLDER / name
    for seed in range(1000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        generator = torch.Generator().manual_seed(seed)
        shape = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
        save(folder, random_weights(shape, generator, DTYPES[stored], DTYPES[vectors or stored]), shards)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True).eval()
        if expect(folder, model, config["vocab_size"], generator, seed):
            size = sum(file.stat().st_size for file in folder.iterdir())
            print(
                f"{name}: seed {seed}, {size} bytes, window {getattr(model.config, 'sliding_window', None)}")
            return
    raise SystemExit(f"{name}: no seed gives greedy tokens with a large enough gap")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    for name in sys.argv[1:] or VARIANTS:
        make(name)


if __name__ == "__main__":
    main()
