#!/usr/bin/env python3
"""Compares the tokenizer of a model folder with transformers: names, ids and texts of its tokens.

    tests/e2e/tokenizer_differential_folders.py --folders 500 [--texts 8] [--seed 1]
        [--tool build/release/tests/support/tokenizer_tool]

Each folder is one of the golden tokenizers with random tokenizer.json, tokenizer_config.json,
special_tokens_map.json, added_tokens.json and generation_config.json, which may be absent or contradict
each other. The reference is AutoTokenizer of the pinned transformers. Where that takes a class that
replaces the normalizer or pre-tokenizer of tokenizer.json, names are compared and ids are not. Where it
takes one that drops tokens, names are compared, and whether a contradiction is named. A folder that one of
the two refuses is skipped; the refusals are printed by reason.
"""

import argparse
import collections
import copy
import json
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
import transformers  # noqa: E402  (reads the variables above)

from tokenizer_differential import ROOT, TOOL, Ours, smallest  # noqa: E402

SHARED = pathlib.Path(os.environ.get("PREFIXD_SHARED", ROOT.parent / "shared"))
BASES = ("llama-gqa", "llama-mqa-linear", "mistral", "qwen2", "qwen3")
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
CLASSES = ("PreTrainedTokenizerFast",) * 6 + ("TokenizersBackend", "LlamaTokenizerFast", "LlamaTokenizer",
                                              "Qwen2Tokenizer", "GPT2TokenizerFast", None)


class Folder:
    """The files of a random folder, as values, and the texts of all tokens that they have."""

    def __init__(self, rng):
        self.rng = rng
        self.base = rng.choice(BASES)
        golden = SHARED / "golden" / self.base
        self.config = json.loads((golden / "config.json").read_text())
        self.tokenizer = json.loads((golden / "tokenizer.json").read_text())
        self.vocabulary = len(self.tokenizer["model"]["vocab"])
        self.added = self.tokenizer["added_tokens"]
        self.new = [f"<new_{i}>" for i in range(rng.randrange(3))] + (["Zq w"] if rng.random() < 0.2 else [])
        self.change_tokenizer()
        self.known = [token["content"] for token in self.added]
        self.ids = {token["content"]: token["id"] for token in self.added}
        for content in self.new:  # the ids that they get if a file lists them in this order
            self.ids[content] = max([self.vocabulary - 1, *self.ids.values()]) + 1
        self.words = rng.sample(sorted(self.tokenizer["model"]["vocab"]), 3)
        self.files = {"config.json": self.config, "tokenizer.json": self.tokenizer}
        self.write_config()
        self.write_map()
        self.write_added()
        if rng.random() < 0.3:
            self.files["generation_config.json"] = {"bos_token_id": 1, "eos_token_id": [2, 3]}

    def maybe(self, probability):
        return self.rng.random() < probability

    def change_tokenizer(self):
        while len(self.added) > 1 and self.maybe(0.3):
            self.new.insert(0, self.added.pop()["content"])
        for token in self.added:
            for flag in FLAGS:
                if self.maybe(0.07):
                    token[flag] = not token[flag]
        if self.maybe(0.1):
            self.tokenizer["padding"] = {"strategy": "BatchLongest", "direction": "Right",
                                         "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                                         "pad_token": self.rng.choice((self.added[0]["content"], "<pad>"))}

    def content(self):
        kind = self.rng.random()
        if kind < 0.7 or (kind < 0.9 and not self.new):
            return self.rng.choice(self.known)
        return self.rng.choice(self.new if kind < 0.9 else self.words)

    def flags(self, content=None, keep=0.5):
        """Flags of a token: those of tokenizer.json, or random ones, some of them absent."""
        flags = {flag: self.maybe(0.3) for flag in FLAGS}
        for token in self.added:
            if token["content"] == content and self.maybe(keep):
                flags = {flag: token[flag] for flag in FLAGS}
        return {flag: value for flag, value in flags.items() if not self.maybe(0.05)}

    def token(self, typed=True):
        """A token as text or as an object."""
        content = self.content()
        if self.maybe(0.6):
            return content
        return {**({"__type": "AddedToken"} if typed else {}), "content": content, **self.flags(content)}

    def names(self, probability, typed):
        found = {}
        for name in NAMES:
            if self.maybe(probability if name in ("bos_token", "eos_token") else probability / 3):
                found[name] = None if self.maybe(0.1) else self.token(typed)
        return found

    def tokens(self, typed):
        return [self.token(typed) for _ in range(self.rng.randrange(4))]

    def decoder(self):
        contents = [content for content in self.known + self.new if self.maybe(0.8)]
        ids = {content: self.ids[content] for content in contents}
        if len(contents) > 1 and self.maybe(0.1):  # two of them have each other's id
            one, other = self.rng.sample(contents, 2)
            ids[one], ids[other] = ids[other], ids[one]
        return {str(ids[content]): {"content": content, **self.flags(content, 0.7)}
                for content in contents}

    def write_config(self):
        if self.maybe(0.08):
            return
        config = {"model_max_length": 512, "clean_up_tokenization_spaces": False, **self.names(0.6, True)}
        if (chosen := self.rng.choice(CLASSES)) is not None:
            config["tokenizer_class"] = chosen
        if self.maybe(0.5):
            config["added_tokens_decoder"] = self.decoder()
        if self.maybe(0.3):
            config["additional_special_tokens"] = None if self.maybe(0.1) else self.tokens(True)
        if self.maybe(0.2):
            config["extra_special_tokens"] = self.extra()
        if self.maybe(0.1):
            config["image_token"] = self.token()
        if self.maybe(0.2):
            config["add_bos_token"] = self.maybe(0.5)
        items = list(config.items())
        self.rng.shuffle(items)
        self.files["tokenizer_config.json"] = dict(items)

    def extra(self):
        if self.maybe(0.5):
            return self.tokens(True)
        return {name: self.token() for name in ("image_token", "eoi_token", "bos_token") if self.maybe(0.4)}

    def write_map(self):
        if self.maybe(0.5):
            return
        self.files["special_tokens_map.json"] = tokens = self.names(0.7, False)
        if self.maybe(0.3):
            tokens["additional_special_tokens"] = [self.content() for _ in range(self.rng.randrange(3))]
        if self.maybe(0.1):
            tokens["extra_special_tokens"] = (self.tokens(False) if self.maybe(0.5)
                                              else {"boi_token": self.content()})
        if self.maybe(0.1):
            tokens["audio_token"] = self.token(False)

    def write_added(self):
        if self.maybe(0.6):
            return
        ids = {content: self.ids[content] for content in self.known + self.new if self.maybe(0.5)}
        if ids and self.maybe(0.1):
            ids[self.rng.choice(list(ids))] += 7
        self.files["added_tokens.json"] = ids

    def text(self):
        parts = []
        for _ in range(self.rng.randrange(1, 7)):
            parts.append(self.rng.choice(self.known + self.new + self.words))
            parts.append(self.rng.choice(("", " ", "  ", "\n", "a", " it's ", "é", "Zq", ".")))
        return "".join(parts)

    def write(self, path):
        for name, value in self.files.items():
            (path / name).write_text(json.dumps(value, ensure_ascii=False))


def reference(path):
    """Returns the tokenizer of transformers, or None and the reason."""
    try:
        return transformers.AutoTokenizer.from_pretrained(str(path)), None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic is not an Exception
        return None, f"{type(error).__name__}: {error}"


def drops_tokens(folder, kind):
    """Whether the class loses added tokens of tokenizer.json, which added_tokens_decoder does not list."""
    config = folder.files.get("tokenizer_config.json", {})
    if kind != "Qwen2Tokenizer" or "added_tokens_decoder" not in config:
        return False
    listed = {int(id_): token["content"] for id_, token in config["added_tokens_decoder"].items()}
    return any(listed.get(token["id"]) != token["content"] for token in folder.added)


def keeps_pipeline(folder, kind):
    return kind == "TokenizersBackend" or (kind == "Qwen2Tokenizer" and folder.base.startswith("qwen"))


class Comparison:
    def __init__(self, tool, seed):
        self.ours = Ours(tool)
        self.rng = random.Random(seed)
        self.refused = {"transformers": collections.Counter(), "prefixd": collections.Counter()}
        self.counts = collections.Counter()
        self.differences = []

    def check(self, what, folder, expected, got):
        self.counts["cases"] += 1
        if expected != got:
            files = {name: value for name, value in folder.files.items() if name != "config.json"}
            self.differences.append({"what": what, "expected": expected, "got": got, "base": folder.base,
                                     "files": copy.deepcopy(files)})

    def compare(self, folder, texts):
        path = pathlib.Path(tempfile.mkdtemp())
        try:
            folder.write(path)
            expected, why_not = reference(path)
            loaded = self.ours.ask(folder=str(path))
        finally:
            shutil.rmtree(path)
        if expected is None:
            self.refused["transformers"][re.sub(r"[<\[{].*", "", why_not)[:90]] += 1
            return
        if "error" in loaded:
            self.refused["prefixd"][re.sub(r"\"[^\"]*\"|\d+", "_", loaded["error"])[:110]] += 1
            return
        self.counts["folders"] += 1
        named = {name: text for name, text in expected.special_tokens_map.items() if text}
        self.check("names", folder, named, loaded["named"])
        kind = type(expected).__name__
        if drops_tokens(folder, kind):  # tokenizer.json counts here, and that must be said
            self.counts["said"] += 1
            self.check("says which tokens transformers drops", folder, True, bool(loaded["contradictions"]))
        elif keeps_pipeline(folder, kind):
            self.counts["with ids"] += 1
            for text in texts:
                self.encode_and_decode(folder, expected, text)

    def encode_and_decode(self, folder, expected, text):
        special, parse, skip = (self.rng.random() < 0.5 for _ in range(3))
        expected.backend_tokenizer.encode_special_tokens = not parse
        ids = expected.backend_tokenizer.encode(text, add_special_tokens=special).ids
        ours = self.ours.ask(encode=text, special=special, parse=parse)
        self.check({"encode": text, "special": special, "parse": parse}, folder, ids, ours.get("ids", ours))
        decoded = expected.backend_tokenizer.decode(ids, skip_special_tokens=skip)
        ours = self.ours.ask(decode=ids, skip=skip)
        self.check({"decode": ids, "skip": skip}, folder, decoded, ours["text"])

    def random_folders(self, folders, texts):
        for _ in range(folders):
            folder = Folder(self.rng)
            self.compare(folder, [folder.text() for _ in range(texts)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=500)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tool", default=TOOL)
    options = parser.parse_args()
    comparison = Comparison(options.tool, options.seed)
    comparison.random_folders(options.folders, options.texts)
    comparison.ours.close()
    for who, reasons in comparison.refused.items():
        for reason, count in reasons.most_common():
            print(f"refused by {who} {count}: {reason}")
    if comparison.differences:
        one = dict(smallest(comparison.differences))
        files = json.dumps(one.pop("files"), ensure_ascii=False)
        pathlib.Path("tokenizer_difference.json").write_text(files)
        print(f"smallest difference (its files are in tokenizer_difference.json): {json.dumps(one)}",
              file=sys.stderr)
    counts = comparison.counts
    print(f"transformers {transformers.__version__}: {counts['folders']} folders, {counts['with ids']} with "
          f"ids, {counts['said']} with dropped tokens, {counts['cases']} cases, "
          f"{len(comparison.differences)} differ")
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
