"""What other programs make of a model: functions for bench/gguf, in an environment that has these programs.

    PYTHON gguf_peers.py FUNCTION < ARGUMENTS.json

prints what the function returns, as JSON. `transformers` reads folders, and llama.cpp, through its binding
llama-cpp-python, reads GGUF files. Both compute in float32 where the weights let them.
"""

import json
import sys

CONTEXT = 512  # tokens


def load(folder):
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def transformers_ids(folder, texts):
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def transformers_chats(folder, questions):
    """The ids of the prompts of conversations with one question."""
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=True,
                                          add_generation_prompt=True, return_dict=False)
            for question in questions]


def transformers_logits(folder, ids):
    torch, model = load(folder)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].tolist()


def transformers_likeliest(folder, answers):
    """For each token of each answer the likeliest token in its place, and how far the next one is below."""
    torch, model = load(folder)
    found = []
    for prompt, answer in answers:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1]
        best = torch.topk(logits, 2)
        found.append([[int(ids[0]), float(values[0] - values[1])]
                      for ids, values in zip(best.indices, best.values)])
    return found


def transformers_make(folder, family, config):
    """Writes a model with random weights, biases and norms included."""
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(7)
    model = getattr(transformers, family + "ForCausalLM")(
        getattr(transformers, family + "Config")(**config))
    with torch.no_grad():
        for name, values in model.named_parameters():
            values.copy_(torch.randn_like(values) * 0.1 + (1 if "norm" in name else 0))
    model.to(torch.bfloat16).save_pretrained(folder)


def llama(file):
    import llama_cpp
    f32 = llama_cpp.GGML_TYPE_F32
    return llama_cpp.Llama(model_path=file, n_ctx=CONTEXT, logits_all=True, type_k=f32, type_v=f32,
                           verbose=False)


def llama_ids(file, texts):
    model = llama(file)
    return [model.tokenize(text.encode(), add_bos=False, special=True) if text else [] for text in texts]


def llama_logits(file, ids):
    model = llama(file)
    model.eval(ids)
    return model.scores[:len(ids)].tolist()


if __name__ == "__main__":
    result = globals()[sys.argv[1]](**json.load(sys.stdin))
    print("\n" + json.dumps(result))
