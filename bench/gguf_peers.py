"""What other programs make of a model: functions for bench/gguf, in an environment that has these programs.

    PYTHON gguf_peers.py FUNCTION < ARGUMENTS.json

prints what the function returns, as JSON. `transformers` reads folders, and llama.cpp, which the package
xllamacpp has, reads GGUF files. Both compute in float32 where the weights let them.
"""

import json
import sys
import urllib.request

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
    """A row after each token."""
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


class LlamaCpp:
    """A GGUF file in llama.cpp: its server, in this process."""

    def __init__(self, file):
        import xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path = file
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = CONTEXT, 1, False, -1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)
        self.letter = self.ids("a")[0]

    def ask(self, path, **body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def ids(self, text):
        return self.ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]

    def log_probabilities(self, prompt, vocab):
        # It must generate a token to say how likely all are, and says nothing where that one is no text. The
        # bias decides which one it is; what is said was before that.
        answer = self.ask("/completion", prompt=prompt, n_predict=1, n_probs=vocab, temperature=0,
                          logit_bias=[[self.letter, 1000]])
        row = [None] * vocab
        for token in answer["completion_probabilities"][0]["top_logprobs"]:
            row[token["id"]] = token["logprob"]
        return row


def llama_ids(file, texts):
    model = LlamaCpp(file)
    return [model.ids(text) for text in texts]


def llama_rows(file, prompts, vocab):
    """The logarithms of the probabilities of all tokens after each prompt."""
    model = LlamaCpp(file)
    return [model.log_probabilities(prompt, vocab) for prompt in prompts]


if __name__ == "__main__":
    result = globals()[sys.argv[1]](**json.load(sys.stdin))
    print("\n" + json.dumps(result))
