"""Random tokenizer.json files with every component that prefixd supports, and random texts to encode."""

import json

MARK = "\u2581"
REGEXES = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt2_short": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
             r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
             r"|\s+(?!\S)|\s+",
    "qwen35": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
              r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
              r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
             r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "digits3": r"\p{N}{1,3}",
    "cjk": "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "dsv3": r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "lines": r"[\r\n]",
    "letters": r"\s?\p{L}+",
    "punctuation": r"\s?\p{P}+",
    "dscoder_cjk": "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
    "digit": r"\p{N}",
    "falcon": r"[\p{P}\$\+<=>\^~\|`]+",
    "falcon_digits": r"[0-9][0-9][0-9]",
    "bailing": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
               r"|\s+(?!\S)|\s+",
    "bloom": " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+",
    "gemma4": r"[^\n]+|[\n]+",
    "word": r"\w+",
    "not_word": r"\W",
    "word_class": r"[\w']+",
    "border": r"\b\p{Lu}|\B\p{Nd}",
    "hex": r"0x\h+|\H{2}",
    "scripts": r"\p{Han}+|\p{Hiragana}+|\p{Katakana}+|\p{Cyrillic}+|\p{Latin}+|\P{Greek}",
    "spaces": r"\s+",
    "line": "^.*$",
}
FRAGMENTS = [
    "a", "b", "ab", "abc", "the", "The", "THE", "ing", "hello", "world", "don't", "I'LL", "we've", "'\u017f",
    "1", "12",
    "123", "12345", "3.14", "0xFF", "\u00bd", "\u00b2", "\u0663", "\u2167", " ", " ", " ", "  ", "   ", "\n",
    "\n\n", "\r\n", "\r",
    "\t", "\u00a0", "\u0085", "\u2028", "\u3000", "\u180e", "\u200b", "\u200d", "\ufeff", ".", ",", "!", "?!",
    "--", "$", "+", "<", ">",
    "/", "\\", "\"", "_", "`", "(", ")", "\u2026", "\u3002", "\u2014", "\u00e9", "e\u0301", "e\u0323\u0307",
    "q\u0307\u0323", "\u1e9b\u0323",
    "\u00df", "\u0130", "\u03a3", "\u01c5", "\ufb01", "\u212b", "\uac01", "\u1100\u1161\u11a8", "\u6f22",
    "\u5b57", "\u6f22\u5b57", "\u3072\u3089",
    "\u30ab\u30bf", "\u0434\u0430", "\u0391\u03b1", "\u0905\u094d", "\u0e01\u0e33", "\u05d0\u05b0",
    "\U0001f600", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea",
    "\u24b6", "\U00031350", "\u1abf", "\u0897", "\ua7cb", "\U00010d50", "\U00011de0", "\ufdfa", "\uffff",
    "\ufffd", "\x00", "\x7f",
    MARK, MARK + MARK, "\u0120", "\u010a", "<0x41>", "<0xE6>", "<s>", "</s>", "<|x|>", "<|xy|>", "<unk>",
    "[A]", "tok", " tok ", "\u0301",
]
ADDED = ["<s>", "</s>", "<|x|>", "<|xy|>", "[A]", "tok", "  ", "\n\n", "the", "\u00e9", "A b", MARK + MARK,
         "'", "\u0301a", " x "]


def random_text(rng, most=24):
    def part():
        if rng.random() < 0.9:
            return rng.choice(FRAGMENTS)
        point = rng.randrange(0x110000) if rng.random() < 0.5 else rng.randrange(0x3000)
        return chr(point) if not 0xD800 <= point < 0xE000 else "x"
    if rng.random() < 0.1:
        return part() * rng.randrange(1, 120)
    return "".join(part() for _ in range(rng.randrange(most)))


def byte_alphabet():
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in printable]
    points = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [points[b] for b in range(256)]


def spell(text, alphabet):
    return "".join(alphabet[b] for b in text.encode())


def random_merges(rng, words, tokens):
    """Merges of neighbouring pairs in words, as training finds them. Adds their products to `tokens`."""
    merges = []
    words = [list(w) for w in words if w]
    for _ in range(rng.randrange(120)):
        pairs = [(w[i], w[i + 1]) for w in words for i in range(len(w) - 1)
                 if w[i] in tokens and w[i + 1] in tokens]
        if not pairs:
            break
        left, right = pair = rng.choice(pairs)
        if pair not in merges:
            merges.append(pair)
            tokens.setdefault(left + right)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == pair:
                    w[i:i + 2] = [left + right]
                i += 1
    if rng.random() < 0.3:
        rng.shuffle(merges)
    return merges


def random_model(rng, byte_level):
    texts = [random_text(rng) for _ in range(12)] + ["the hello world " * 3, "   ", "aaaa"]
    alphabet = byte_alphabet()
    if byte_level:
        tokens = dict.fromkeys(alphabet if rng.random() < 0.9 else rng.sample(alphabet, 200))
        words = [spell(t, alphabet) for t in texts]
    else:
        texts = [t.replace(" ", MARK) for t in texts]
        chars = sorted(set("".join(texts + FRAGMENTS)))
        tokens = dict.fromkeys(rng.sample(chars, int(len(chars) * rng.choice([0.5, 0.9, 1]))))
        words = texts
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": rng.random() < 0.5, "byte_fallback": False,
             "ignore_merges": rng.random() < 0.3}
    if not byte_level and rng.random() < 0.6:
        model["byte_fallback"] = True
        tokens.update(dict.fromkeys(f"<0x{b:02X}>" for b in range(256) if rng.random() < 0.99))
    if rng.random() < 0.5:
        model["unk_token"] = "<unk>"
        tokens["<unk>"] = None
    merges = random_merges(rng, words, tokens)
    if rng.random() < 0.1:  # affixes: tokens of single characters with them, and merges that keep the rule
        if rng.random() < 0.5:
            model["end_of_word_suffix"] = "</w>"
            tokens.update(dict.fromkeys(c + "</w>" for c in list(tokens)[::2]))
        else:
            model["continuing_subword_prefix"] = "##"
            tokens.update(dict.fromkeys("##" + c for c in list(tokens)))
            merges = [(a, "##" + b) for a, b in merges]
    ids = list(range(len(tokens)))
    if rng.random() < 0.3:
        rng.shuffle(ids)
    model["vocab"] = dict(zip(tokens, ids))
    arrays = rng.random() < 0.5 or any(" " in part for pair in merges for part in pair)
    model["merges"] = [list(pair) if arrays else " ".join(pair) for pair in merges]
    return model


def random_added(rng, vocab):
    added = []
    for content in rng.sample(ADDED, rng.randrange(6)):
        taken = {token["id"] for token in added}
        number = vocab.get(content, max([*vocab.values(), *taken]) + 1)
        added.append({"id": number, "content": content, "single_word": rng.random() < 0.2,
                      "lstrip": rng.random() < 0.2,
                      "rstrip": rng.random() < 0.2, "normalized": rng.random() < 0.4,
                      "special": rng.random() < 0.5})
    return added


def some(rng, make, key, most):
    """None, one component, or a Sequence of some."""
    count = rng.choice([0, 1, 1, 2, most])
    if count == 0:
        return None
    return make(rng) if count == 1 else {"type": "Sequence", key: [make(rng) for _ in range(count)]}


def random_pattern(rng):
    if rng.random() < 0.3:
        return {"String": rng.choice([" ", MARK, "a", "the", "\n", "-", ".", "\u0301"])}
    return {"Regex": REGEXES[rng.choice(list(REGEXES))]}


def random_normalizer(rng):
    return rng.choice([
        {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"},
        {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5},
        {"type": "Prepend", "prepend": rng.choice([MARK, "a", "ab ", " "])},
        {"type": "Replace", "pattern": {"String": rng.choice([" ", "  ", "a", "the", "\n"])},
         "content": rng.choice([MARK, "", "b", "xyz", " "])},
        {"type": "Replace", "pattern": {"Regex": rng.choice([r"\s+", " {2,}", r"\p{N}", r"[^\w\s]", "^a",
                                                             "\u0301+"])},
         "content": rng.choice([" ", "", MARK, "0"])}])


def random_behavior(rng):
    return rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])


def random_metaspace(rng):
    return {"type": "Metaspace", "replacement": rng.choice([MARK, MARK, MARK, "_"]),
            "prepend_scheme": rng.choice(["first", "always", "never"]), "split": rng.random() < 0.7}


def random_pre_tokenizer(rng):
    return rng.choice([
        {"type": "Split", "pattern": random_pattern(rng), "behavior": random_behavior(rng),
         "invert": rng.random() < 0.3},
        {"type": "Split", "pattern": random_pattern(rng), "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": random_pattern(rng), "behavior": "Isolated", "invert": False},
        {"type": "Digits", "individual_digits": rng.random() < 0.5}, {"type": "Whitespace"},
        {"type": "WhitespaceSplit"},
        {"type": "Punctuation", "behavior": random_behavior(rng)}, random_metaspace(rng)])


def random_bytes(rng):
    return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.3, "trim_offsets": True,
            "use_regex": rng.random() < 0.5}


def random_decoder(rng):
    return rng.choice([
        {"type": "Replace", "pattern": {"String": rng.choice([MARK, "a", "the"])}, "content": rng.choice([" ",
            "", "xy"])},
        {"type": "ByteFallback"}, {"type": "Fuse"}, random_metaspace(rng), random_bytes(rng),
        {"type": "Strip", "content": rng.choice([" ", "a"]), "start": rng.randrange(3), "stop": 0}])


def random_post_processor(rng, vocab):
    def named():
        token = rng.choice(list(vocab))
        return token, vocab[token]

    def template():
        before, after = [[named() for _ in range(rng.randrange(3))] for _ in range(2)]
        special = [{"SpecialToken": {"id": t, "type_id": 0}} for t, _ in before]
        special += [{"Sequence": {"id": "A", "type_id": 0}}]
        special += [{"SpecialToken": {"id": t, "type_id": 0}} for t, _ in after]
        return {"type": "TemplateProcessing", "single": special,
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in before + after}}

    return rng.choice([
        None, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        template(),
        {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True,
                                             "trim_offsets": False,
                                             "use_regex": True}, template()]},
        {"type": "BertProcessing", "sep": list(named()), "cls": list(named())},
        {"type": "RobertaProcessing", "sep": list(named()), "cls": list(named()), "trim_offsets": True,
         "add_prefix_space": True}])


def llama2(rng, file):
    """The older SentencePiece form: the whole text is one word."""
    file["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "},
                                               "content": MARK}]}
    file["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    file["pre_tokenizer"] = rng.choice([None, None, {"type": "Split", "pattern": {"String": " "},
                                                     "behavior": "MergedWithPrevious", "invert": False}])


def random_tokenizer(rng):
    byte_level = rng.random() < 0.5
    model = random_model(rng, byte_level)
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": random_added(rng,
        model["vocab"]),
            "normalizer": some(rng, random_normalizer, "normalizers", 3),
            "pre_tokenizer": some(rng, random_pre_tokenizer, "pretokenizers", 4),
            "post_processor": random_post_processor(rng, model["vocab"]),
            "decoder": some(rng, random_decoder, "decoders", 4), "model": model}
    if byte_level:
        before = file["pre_tokenizer"]
        stages = [] if before is None else before.get("pretokenizers", [before])
        stages = [s for s in stages if s["type"] != "Metaspace"] + [random_bytes(rng)]
        file["pre_tokenizer"] = stages[0] if len(stages) == 1 else {"type": "Sequence",
                                                                    "pretokenizers": stages}
        if rng.random() < 0.7:
            file["decoder"] = random_bytes(rng)
    elif rng.random() < 0.5:
        llama2(rng, file)
    return file


def dump(file, path):
    path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
