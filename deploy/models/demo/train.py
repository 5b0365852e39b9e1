#!/usr/bin/env python3
"""Trains the demo model and its tokenizer on the corpus that make_corpus.py writes.

    train.py --corpus DIR --work DIR --minutes M [--threads N] [--longest N] [--resume FILE]

It writes to the folder --work:

    tokenizer.json   trained once, then kept
    last.pt          a checkpoint, every few minutes
    stable.pt        the checkpoint before the learning rate falls; resume from it to train longer
    export/          the model in Hugging Face layout

The learning rate warms up, stays constant, and falls to zero over the last part of the given minutes.
--resume takes a checkpoint, or the model.safetensors of an export. An export has the weights only; its
tokenizer.json is used too.
"""

import argparse
import json
import os
import random
import shutil
import time

import numpy as np
import safetensors.torch
import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from model import CONFIG, Llama

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
BOS, END_OF_TEXT, TURN_START, TURN_END = SPECIAL
CHAT_TEMPLATE = (
    "{{- bos_token }}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n"
)
# The split of Llama 3. The tokenizer is trained on text without digits, so every digit stays a single token.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")

# (rows of a batch, tokens of a row, share of the tokens for which the loss is computed). These are the tokens
# with the largest weights, which are the answers, and a random choice of the others. A document goes into a
# row of the shortest length that fits, or into the free part of a row of 512 or 1024 tokens. A row of more
# than PACKED_TOKENS holds one document, so its attention needs no mask.
ROW_SHAPES = [(18, 256, 0.5), (9, 512, 0.5), (4, 1024, 0.4), (3, 1536, 0.25), (2, 2304, 0.2), (2, 3072, 0.15)]
PACKED_TOKENS = 1024
# Weights of the loss of a token: in prompts, in plain text, in answers, and in answers of documents of more
# than 512 tokens.
PROMPT_WEIGHT, RAW_WEIGHT, ANSWER_WEIGHT, LONG_WEIGHT = 0.02, 0.3, 1.0, 1.5
MUON_RATE, ADAM_RATE, WARMUP_STEPS, DECAY_SHARE = 0.02, 4e-3, 60, 0.5
CHECKPOINT_SECONDS = 240


def render(document):
    """Returns the text of a document: its raw text, or its messages as the chat template renders them."""
    if "text" in document:
        return BOS + document["text"] + END_OF_TEXT
    turns = (f"{TURN_START}{m['role']}\n{m['content']}{TURN_END}\n" for m in document["messages"])
    return BOS + "".join(turns)


def read_documents(corpus):
    with open(os.path.join(corpus, "train.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def train_tokenizer(documents, path):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=CONFIG["vocab_size"] - len(SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    no_digits = str.maketrans("", "", "0123456789")
    texts = (text.translate(no_digits) for document in documents
             for text in ([document["text"]] if "text" in document else
                          [part for m in document["messages"] for part in (m["role"] + "\n", m["content"])]))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))])
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"], tokenizer.get_vocab_size()
    tokenizer.save(path)


def encode(tokenizer, documents, longest):
    """Returns (ids, weights, kind) for each document. weights[i] is the weight of the loss of predicting
    ids[i]."""
    start, end = tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)
    header = [start] + tokenizer.encode("assistant\n", add_special_tokens=False).ids
    out = []
    for at in range(0, len(documents), 4096):
        part = documents[at:at + 4096]
        encodings = tokenizer.encode_batch([render(d) for d in part], add_special_tokens=False)
        for document, encoding in zip(part, encodings):
            ids = encoding.ids
            if "text" in document:
                weights = np.full(len(ids), RAW_WEIGHT, np.float32)
            else:
                weights = np.full(len(ids), PROMPT_WEIGHT, np.float32)
                answer_weight = LONG_WEIGHT if len(ids) > 512 else ANSWER_WEIGHT
                at_token = 0
                while at_token < len(ids):
                    if ids[at_token:at_token + len(header)] == header:
                        stop = ids.index(end, at_token) + 1
                        weights[at_token + len(header):stop] = answer_weight
                        at_token = stop
                    else:
                        at_token += 1
            if len(ids) <= longest:
                out.append((np.array(ids, np.int16), weights, document["kind"]))
    return out


def pack(documents, order_seed):
    """Returns the batches of one epoch. A batch is a list of rows; a row is a list of documents that together
    fit its length."""
    rng = random.Random(order_seed)
    order = list(range(len(documents)))
    rng.shuffle(order)
    lengths = [length for _, length, _ in ROW_SHAPES]
    rows = {length: [] for length in lengths}
    open_rows = {length: [] for length in lengths}  # [free tokens, row], for rows that are not full
    for i in order:
        size = len(documents[i][0])
        length = next(length for length in lengths if size <= length)
        if length > PACKED_TOKENS:
            rows[length].append([i])
            continue
        fitting = [row for other in {length, 512, 1024} for row in open_rows[other] if row[0] >= size]
        row = min(fitting, key=lambda r: r[0], default=None)
        if row is None:
            row = [length, []]
            open_rows[length].append(row)
            if len(open_rows[length]) > 24:
                fullest = min(open_rows[length], key=lambda r: r[0])
                open_rows[length].remove(fullest)
                rows[length].append(fullest[1])
        row[0] -= size
        row[1].append(i)
    batches = []
    for count, length, _ in ROW_SHAPES:
        full = rows[length]
        batches += [(length, full[at:at + count]) for at in range(0, len(full) - count + 1, count)]
    rng.shuffle(batches)
    return batches


def tensors(documents, length, rows):
    """Returns ids, document numbers and loss weights, each [rows, length]. Padding has weight 0."""
    ids = np.zeros((len(rows), length), np.int64)
    owner = np.full((len(rows), length), -1, np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    for r, row in enumerate(rows):
        at = 0
        for number, i in enumerate(row):
            doc_ids, doc_weights, _ = documents[i]
            span = slice(at, at + len(doc_ids))
            ids[r, span], owner[r, span], weights[r, span] = doc_ids, number, doc_weights
            weights[r, at] = 0  # nothing before it in the document predicts the first token
            at += len(doc_ids)
    return torch.from_numpy(ids), torch.from_numpy(owner), torch.from_numpy(weights)


def chosen_positions(weights, length):
    """Returns the flat positions of the tokens for which a step computes the loss. The row length determines
    their number."""
    share = next(share for _, other, share in ROW_SHAPES if other == length)
    tokens = weights[:, 1:] + 1e-3 * torch.rand(weights.shape[0], length - 1) * (weights[:, 1:] > 0)
    flat = tokens.flatten().topk(int(share * weights.numel())).indices
    # `flat` counts in rows of length - 1, which leave out the first token. Convert to rows of `length`.
    return flat + flat // (length - 1) + 1


def token_losses(model, ids, owner, causal, positions):
    """Returns the losses of predicting the tokens at the flat `positions`. A token attends only to its own
    document. `causal` is None when every row is one document."""
    mask = None if causal is None else (owner[:, None, :, None] == owner[:, None, None, :]) & causal
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        logits = model.logits(model.hidden(ids, mask).flatten(0, 1)[positions - 1])
    return F.cross_entropy(logits.float(), ids.flatten()[positions], reduction="none")


def answer_losses(documents, rows, owner, positions, weights, losses):
    """Yields (kind, loss) of each answer token, for the log."""
    length = owner.shape[1]
    for position, weight, loss in zip(positions.tolist(), weights.tolist(), losses.tolist()):
        if weight >= ANSWER_WEIGHT:
            row = position // length
            yield documents[rows[row][int(owner[row, position % length])]][2], loss


def export(model, tokenizer, folder):
    os.makedirs(folder, exist_ok=True)
    ids = {text: tokenizer.token_to_id(text) for text in SPECIAL}
    stops = [ids[TURN_END], ids[END_OF_TEXT]]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids[BOS],
        "eos_token_id": ids[TURN_END],
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **CONFIG,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONFIG["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "bos_token": BOS,
        "eos_token": TURN_END,
        "chat_template": CHAT_TEMPLATE,
        "added_tokens_decoder": {
            str(i): {
                "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True
            } for text, i in ids.items()
        },
    }
    generation = {
        "bos_token_id": ids[BOS], "eos_token_id": stops, "do_sample": True, "temperature": 0.3, "top_p": 0.9
    }
    tables = {"config": config, "tokenizer_config": tokenizer_config, "generation_config": generation}
    for name, table in tables.items():
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(table, file, indent=2)
            file.write("\n")
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    weights = {
        name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()
    }
    path = os.path.join(folder, "model.safetensors")
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def rate_at(step, progress):
    return min(1.0, (step + 1) / WARMUP_STEPS, (1.0 - progress) / DECAY_SHARE)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock time of this run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--longest", type=int, default=ROW_SHAPES[-1][1],
                        help="leave out documents with more tokens")
    parser.add_argument("--resume", help="checkpoint or exported weights to continue from")
    return parser.parse_args()


def load_tokenizer(args, documents):
    """Returns the tokenizer of --work. If needed, trains it, or copies that of the export to resume from."""
    path = os.path.join(args.work, "tokenizer.json")
    if is_export(args.resume):
        shutil.copyfile(os.path.join(os.path.dirname(args.resume), "tokenizer.json"), path)
    if not os.path.exists(path):
        train_tokenizer(documents[:20000], path)
    return tokenizers.Tokenizer.from_file(path)


def is_export(resume):
    return (resume or "").endswith(".safetensors")


def load_state(resume, model, optimizers):
    """Loads a checkpoint or exported weights, if `resume` names one. Returns the first epoch to train."""
    if is_export(resume):
        weights = safetensors.torch.load_file(resume)
        model.load_state_dict({name: value.float() for name, value in weights.items()})
    elif resume:
        state = torch.load(resume, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        return state["epoch"] + 1
    return 0


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    os.makedirs(args.work, exist_ok=True)

    raw = read_documents(args.corpus)
    tokenizer = load_tokenizer(args, raw)
    documents = encode(tokenizer, raw, args.longest)
    total, weight = sum(len(d[0]) for d in documents), sum(float(d[1].sum()) for d in documents)
    step_tokens = ROW_SHAPES[0][0] * ROW_SHAPES[0][1]
    # The same scale for every step, so an answer token counts the same in all steps.
    usual_weight = weight / total * step_tokens
    print(f"{len(documents)} documents, {total} tokens, mean weight {weight / total:.3f}", flush=True)

    model = Llama()
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    optimizers = [torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.02),
                  torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0)]
    base_rates = [MUON_RATE, ADAM_RATE]
    epoch = load_state(args.resume, model, optimizers)
    step_losses = torch.compile(token_losses, dynamic=False)
    causal = {length: torch.ones(length, length, dtype=torch.bool).tril() if length <= PACKED_TOKENS else None
              for _, length, _ in ROW_SHAPES}

    def checkpoint(name):
        path = os.path.join(args.work, name)
        state = {
            "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "epoch": epoch
        }
        torch.save(state, path + ".new")
        os.replace(path + ".new", path)

    started = saved_at = time.monotonic()
    step, seen, stable, recent, batches = 0, 0, False, {}, []
    while (progress := (time.monotonic() - started) / (60 * args.minutes)) < 1.0:
        if not batches:
            batches, epoch = pack(documents, epoch), epoch + 1
        length, rows = batches.pop()
        ids, owner, weights = tensors(documents, length, rows)
        positions = chosen_positions(weights, length)
        losses = step_losses(model, ids, owner, causal[length], positions)
        position_weights = weights.flatten()[positions]
        ((losses * position_weights).sum() / usual_weight).backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        if not stable and progress > 1.0 - DECAY_SHARE:
            stable = True
            checkpoint("stable.pt")
        for optimizer, rate in zip(optimizers, base_rates):
            optimizer.param_groups[0]["lr"] = rate * rate_at(step, progress)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        seen += int((owner >= 0).sum())
        for kind, loss in answer_losses(documents, rows, owner, positions, position_weights, losses.detach()):
            recent.setdefault(kind, []).append(loss)
        if step % 50 == 0:
            means = " ".join(f"{kind}:{sum(v) / len(v):.3f}" for kind, v in sorted(recent.items()))
            print(f"step {step} epoch {epoch} progress {progress:.3f} tokens {seen} loss {means} "
                  f"{seen / (time.monotonic() - started):.0f} tokens/s", flush=True)
            recent = {}
        if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            saved_at = time.monotonic()
            checkpoint("last.pt")
            export(model, tokenizer, os.path.join(args.work, "export"))
    checkpoint("last.pt")
    export(model, tokenizer, os.path.join(args.work, "export"))
    print(f"done: {step} steps, {seen} tokens", flush=True)


if __name__ == "__main__":
    main()
