"""Compares the encoding of rendered chats, in which control tokens of the messages are plain text, with the
tokenizers library.

The library has no such encoding. The reference gives every control token a second spelling, a private
character with the same flags that is not special, writes that spelling where the template has the token, and
tells the library to leave special tokens in the text alone.
"""

import json
import os
import pathlib
import random
import subprocess

import pytest
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("PREFIXD_SHARED", ROOT.parent / "shared"))
TOOL = pathlib.Path(os.environ.get("PREFIXD_TOKENIZER_TOOL",
                                   ROOT / "build/release/tests/support/tokenizer_tool"))
FOLDERS = ["llama3", "qwen2", "spm"]
WORDS = [" ", "\n", "user", "assistant", "hi", "Hello, world!", "e\u0301", "12345", "<", "|>", "im_end", "日本",
         "  ", "😀", "system\n", "don't"]


class Reference:
    def __init__(self, file):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(file))
        added = self.tokenizer.get_added_tokens_decoder()
        self.controls = [token.content for token in added.values() if token.special]
        self.others = [token.content for token in added.values() if not token.special]
        self.ids, self.spelling = {}, {}
        for i, (id, token) in enumerate(sorted(added.items())):
            if not token.special:
                continue
            spelling = chr(0xE000 + i)
            self.tokenizer.add_tokens([tokenizers.AddedToken(
                spelling, lstrip=token.lstrip, rstrip=token.rstrip, single_word=token.single_word,
                normalized=token.normalized, special=False)])
            self.spelling[token.content] = spelling
            self.ids[self.tokenizer.token_to_id(spelling)] = id
        self.tokenizer.encode_special_tokens = True

    def encode(self, parts):
        text = ""
        for part, from_request in parts:
            for token in () if from_request else sorted(self.controls, key=len, reverse=True):
                part = part.replace(token, self.spelling[token])
            text += part
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [self.ids.get(id, id) for id in ids]


def random_parts(r, reference):
    """Parts of a chat: the template's with whole control tokens, the request's with anything."""
    parts = []
    for i in range(r.randrange(1, 9)):
        from_request = i % 2 == 1
        choices = WORDS + reference.controls * 3 + reference.others * 2
        if from_request:
            choices = choices + [part for token in reference.controls for part in (token[:-1], token[1:])]
        parts.append(["".join(r.choices(choices, k=r.randrange(0, 7))), from_request])
    return parts


@pytest.mark.parametrize("folder", FOLDERS)
def test_control_tokens_of_messages_are_plain_text(folder):
    file = SHARED / "golden/tokenizers" / folder / "tokenizer.json"
    if not file.exists() or not TOOL.exists():
        pytest.skip(f"{file} or {TOOL} is absent")
    r = random.Random(20261127)
    reference = Reference(file)
    chats = [random_parts(r, reference) for _ in range(int(os.environ.get("PREFIXD_CHATS", "1000")))]
    lines = [{"load": str(file)}] + [{"encode": parts, "special": False, "parse": True} for parts in chats]
    done = subprocess.run([TOOL], input="".join(json.dumps(line) + "\n" for line in lines), text=True,
                          capture_output=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    assert len(answers) == len(chats)
    forged = 0
    for parts, answer in zip(chats, answers):
        assert answer.get("ids") == reference.encode(parts), parts
        forged += any(token in text for text, from_request in parts if from_request
                      for token in reference.controls)
    assert forged > len(chats) // 3, "the chats cover too little"
