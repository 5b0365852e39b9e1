#!/usr/bin/env python3
"""Compares our tokenizer with the `tokenizers` library on random files and texts: ids, texts of ids, streams.

    tests/e2e/tokenizer_differential.py --files 1000 --texts 20 [--seed 1]
        [--tool build/release/tests/support/tokenizer_tool]
    tests/e2e/tokenizer_differential.py --regexes 200
        instead compares every pattern by itself, on texts of many code points

A file that one of the two refuses is skipped. The number of files that we refuse is printed by reason.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizers
import tokenizer_generator as generator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "build" / "release" / "tests" / "support" / "tokenizer_tool"


class Ours:
    def __init__(self, tool):
        self.process = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"tokenizer_tool died of {request!r:.200}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def reference_or_none(call):
    """Returns the result of the reference, or None if it fails (some of its decoders panic)."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a Rust panic is not an Exception
        return None


class Comparison:
    def __init__(self, tool, seed):
        self.ours = Ours(tool)
        self.rng = random.Random(seed)
        self.refused = collections.Counter()
        self.files = self.cases = 0
        self.differences = []

    def check(self, what, file, expected, got):
        self.cases += 1
        if expected != got:
            self.differences.append({"what": what, "expected": expected, "got": got, "file": file})

    def encode_and_decode(self, reference, file, text):
        special, parse = self.rng.random() < 0.5, self.rng.random() < 0.7
        reference.encode_special_tokens = not parse
        encoded = reference_or_none(lambda: reference.encode(text, add_special_tokens=special).ids)
        if encoded is None:
            return
        ours = self.ours.ask(encode=text, special=special, parse=parse)
        self.check({"encode": text, "special": special, "parse": parse}, file, encoded, ours.get("ids", ours))
        self.decode(reference, file, encoded)

    def decode(self, reference, file, ids):
        skip = self.rng.random() < 0.5
        text = reference_or_none(lambda: reference.decode(ids, skip_special_tokens=skip))
        if text is None:
            return
        ours = self.ours.ask(decode=ids, skip=skip)
        self.check({"decode": ids, "skip": skip}, file, text, ours["text"])
        self.check({"stream": ids, "skip": skip}, file, text, ours["stream"])

    def compare_file(self, file, texts):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "tokenizer.json"
            generator.dump(file, path)
            reference = reference_or_none(lambda: tokenizers.Tokenizer.from_file(str(path)))
            loaded = self.ours.ask(load=str(path))
        if reference is None:
            return
        if "error" in loaded:
            self.refused[loaded["error"][:100]] += 1
            return
        self.files += 1
        for text in texts:
            self.encode_and_decode(reference, file, text)
        ids = list(file["model"]["vocab"].values()) + [token["id"] for token in file["added_tokens"]]
        for _ in texts:
            low = self.rng.randrange(len(ids))
            near = ids[low:low + 8]
            self.decode(reference, file, [self.rng.choice(ids if self.rng.random() < 0.5 else near)
                                          for _ in range(self.rng.randrange(16))])

    def random_files(self, files, texts):
        for _ in range(files):
            file = generator.random_tokenizer(self.rng)
            self.compare_file(file, [generator.random_text(self.rng) for _ in range(texts)])

    def regexes(self, texts):
        """Compares each pattern alone. Every character is a token; end-of-word suffixes mark the pieces."""
        for pattern in generator.REGEXES.values():
            vocab = {f"{c}{end}": 2 * i + (end != "")
                     for i, c in enumerate(generator.byte_alphabet()) for end in ("", "</w>")}
            file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                    "normalizer": None,
                    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                         "invert": False},
                        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                         "use_regex": False}]},
                    "post_processor": None, "decoder": None,
                    "model": {"type": "BPE", "dropout": None, "unk_token": None,
                              "continuing_subword_prefix": None,
                              "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False,
                              "ignore_merges": False, "vocab": vocab, "merges": []}}
            self.compare_file(file, [self.wide_text() for _ in range(texts)])

    def wide_text(self):
        """Neighbouring code points from all over Unicode, between the fragments of other texts."""
        parts = []
        for _ in range(self.rng.randrange(1, 12)):
            start = self.rng.randrange(0x110000) if self.rng.random() < 0.4 else self.rng.randrange(0x20000)
            points = range(start, min(start + self.rng.randrange(1, 20), 0x110000))
            parts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
            parts.append(generator.random_text(self.rng, 4))
        return "".join(parts)


def smallest(differences):
    return min(differences, key=lambda d: len(json.dumps(d["what"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--regexes", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tool", default=TOOL)
    options = parser.parse_args()
    comparison = Comparison(options.tool, options.seed)
    if options.regexes:
        comparison.regexes(options.regexes)
    else:
        comparison.random_files(options.files, options.texts)
    comparison.ours.close()
    for reason, count in comparison.refused.most_common():
        print(f"refused {count}: {reason}")
    if comparison.differences:
        one = dict(smallest(comparison.differences))
        pathlib.Path("tokenizer_difference.json").write_text(json.dumps(one.pop("file"), ensure_ascii=False))
        print(f"smallest difference (its file is tokenizer_difference.json): {json.dumps(one)}",
              file=sys.stderr)
    print(f"tokenizers {tokenizers.__version__}: {comparison.files} files, {comparison.cases} cases, "
          f"{len(comparison.differences)} differ")
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
