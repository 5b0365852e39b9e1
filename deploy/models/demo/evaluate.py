#!/usr/bin/env python3
"""Scores the greedy answers of an exported model to the held-out checks, and prints samples.

    evaluate.py --model DIR --checks FILE [--limit N] [--wrong N]

It computes with the bf16 weights of the export in f32. It also checks that the chat template is append-only:
an answer and its end marker, rendered in the next turn, must be the tokens that were generated.
"""

import argparse
import collections
import json
import os
import random
import re

import jinja2
import safetensors.torch
import tokenizers
import torch

from model import CONFIG, Llama

SAMPLES = [
    [("user", "Hello!")],
    [("system", "You are Quentin, a helpful assistant."), ("user", "Hi, what is your name?")],
    [("user", "What is prefixd and why is it fast?")],
    [("user", "Which port does it listen on?")],
    [("user", "What is 8 plus 6?")],
    [("user", "Tell me a story about a fox.")],
    [("user", "My name is Karla.")],
    [("user", "Please write a story about a bear and a lamp.")],
    [("user", "Who won the football game yesterday?")],
    [("system", "Ten grey geese walk over the wet road. " * 220),
     ("user", "Which language is prefixd written in?")],
]


class Chat:
    def __init__(self, folder):
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.bos, self.end = config["bos_token"], config["eos_token"]
        self.template = jinja2.Environment(trim_blocks=True,
                                           lstrip_blocks=True).from_string(config["chat_template"])
        with open(os.path.join(folder, "generation_config.json"), encoding="utf-8") as file:
            self.stops = set(json.load(file)["eos_token_id"])
        self.model = Llama().eval()
        state = safetensors.torch.load_file(os.path.join(folder, "model.safetensors"))
        self.model.load_state_dict({name: value.float() for name, value in state.items()})

    def ids(self, messages, generate=True):
        text = self.template.render(messages=messages, bos_token=self.bos, add_generation_prompt=generate)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def answer_ids(self, messages, limit):
        ids = self.ids(messages)
        room = CONFIG["max_position_embeddings"] - len(ids)
        return ids, self.model.greedy(ids, self.stops, min(limit, room))

    def is_append_only(self):
        """Returns whether a generated answer renders to the generated tokens in the next turn."""
        messages = [{"role": "system", "content": "You are Mira."},
                    {"role": "user", "content": "What is your name?"}]
        ids, answer = self.answer_ids(messages, 60)
        messages += [{"role": "assistant", "content": self.tokenizer.decode(answer)},
                     {"role": "user", "content": "Thanks."}]
        generated = ids + answer + [self.tokenizer.token_to_id(self.end)]
        return self.ids(messages)[:len(generated)] == generated


def one_name_each(story):
    """Returns whether the story names two animals, with different names, and nobody else."""
    named = re.findall(r" called ([A-Z]\w+)", story)
    others = re.findall(r"(?<=[a-z,] )[A-Z]\w+", story)
    return len(named) == len(set(named)) == 2 and set(others) <= set(named)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checks", required=True)
    parser.add_argument("--limit", type=int, default=0,
                        help="number of checks of each kind, drawn with a fixed seed; 0: all")
    parser.add_argument("--wrong", type=int, default=2, help="number of wrong answers of each kind to print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    chat, kinds = Chat(args.model), collections.defaultdict(list)
    with open(args.checks, encoding="utf-8") as file:
        for line in file:
            check = json.loads(line)
            kinds[check["kind"]].append(check)
    for messages in SAMPLES:
        messages = [{"role": role, "content": content} for role, content in messages]
        ids, answer = chat.answer_ids(messages, 200)
        print(f"> {messages[-1]['content']}   [{len(ids)} prompt tokens]\n{chat.tokenizer.decode(answer)}\n")
    print("append-only template, same tokens in the next turn:", "yes" if chat.is_append_only() else "NO")
    print(f"{'check':16} {'right':>10} {'%':>6}   prompt tokens: least, mean, most")
    for kind, checks in kinds.items():
        if args.limit and len(checks) > args.limit:
            checks = random.Random(1).sample(checks, args.limit)
        right, wrong, lengths = 0, [], []
        for check in checks:
            ids, answer = chat.answer_ids(check["messages"], 160)
            text = chat.tokenizer.decode(answer)
            lengths.append(len(ids))
            if all(key in text for key in check["keys"]) and (kind != "story" or one_name_each(text)):
                right += 1
            else:
                wrong.append((check["messages"][-1]["content"][-80:], check["keys"], text[:160]))
        print(f"{kind:16} {right:3} of {len(checks):3} {100 * right / len(checks):6.1f}   "
              f"{min(lengths)}, {sum(lengths) // len(lengths)}, {max(lengths)}", flush=True)
        for ask, keys, text in wrong[:args.wrong]:
            print(f"    wrong: {ask!r} expects {keys}: {text!r}")


if __name__ == "__main__":
    main()
