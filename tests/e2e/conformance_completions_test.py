"""Checks what clients of this API rely on: completions, tokens, caching, metrics, hostile bodies.

The numbers in the names of the tests are rows of the conformance checklist.
"""

import json
import random

import openai
import pytest

from conformance_server import USER, parse_events, server


# Completions and the tokenizer endpoints


def test_89_prompt_formats(server):
    ids = server.json("POST", "/tokenize", {"prompt": "prefixd is"})[1]["tokens"]
    for prompt, count in (("a", 1), (["a", "b"], 2), (ids, 1), ([ids, ids[:2]], 2)):
        choices = server.complete(prompt=prompt, max_tokens=2).choices
        assert [choice.index for choice in choices] == list(range(count))
    choices = server.complete(prompt=["a", "b"], n=2, max_tokens=2).choices
    assert [choice.index for choice in choices] == [0, 1, 2, 3]


def test_90_91_ids_verbatim_and_default_length(server):
    answer = server.complete(prompt=[100, 101, 102], max_tokens=None)
    assert answer.usage.prompt_tokens == 3 and answer.usage.completion_tokens <= 16


def test_93_unsupported_values(server):
    for fields in ({"logprobs": 21}, {"suffix": "x"}, {"best_of": 21}, {"logit_bias": {"x": 1}}):
        with pytest.raises(openai.BadRequestError) as error:
            server.complete(**fields)
        assert error.value.param in fields


def test_94_completion_stream(server):
    chunks = parse_events(
        server.events("/v1/completions",
                      {"prompt": "prefixd is", "max_tokens": 8, "stream_options": {"include_usage": True}}))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["usage"]["completion_tokens"] <= 8
    text = "".join(c["text"] for chunk in chunks for c in chunk["choices"])
    assert text == server.complete().choices[0].text


def test_95_round_trip_of_text(server):
    rng = random.Random(95)
    alphabet = "ab \n\té漢字\U0001F469‍\U0001F680  \r"
    for _ in range(50):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 40)))
        ids = server.json("POST", "/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]
        assert server.json("POST", "/detokenize", {"tokens": ids})[1] == {"prompt": text, "content": text}


def test_97_tokenize_counts_like_chat(server):
    messages = [{"role": "system", "content": "Short."}, *USER]
    count = server.json("POST", "/tokenize", {"messages": messages})[1]["count"]
    assert count == server.chat(messages=messages).usage.prompt_tokens
    prompt = server.json("POST", "/apply-template", {"messages": messages})[1]["prompt"]
    ids = server.json("POST", "/tokenize", {"prompt": prompt, "add_special_tokens": False})[1]["tokens"]
    assert len(ids) == count


def test_98_token_ids_continue_exactly(server):
    extra = {"return_token_ids": True, "ignore_eos": True}
    whole = server.complete(max_tokens=12, extra_body=extra).choices[0]
    half = server.complete(max_tokens=6, extra_body=extra).choices[0]
    rest = server.complete(prompt=half.prompt_token_ids + half.token_ids, max_tokens=6,
                           extra_body=extra).choices[0]
    assert half.token_ids + rest.token_ids == whole.token_ids
    streamed = [token for chunk in server.complete(max_tokens=12, stream=True, extra_body=extra)
                for choice in chunk.choices for token in choice.token_ids]
    assert streamed == whole.token_ids


# The cache


def prompt_of(words, seed):
    rng = random.Random(seed)
    nouns = ("cache", "block", "tree", "token", "disk", "page")
    return " ".join(rng.choice(nouns) + str(rng.randrange(10)) for _ in range(words))


def test_99_100_110_repeated_prompt_is_cached(server):
    prompt = prompt_of(300, 99)
    answers = [
        server.client.completions.with_raw_response.create(model=server.model, prompt=prompt, max_tokens=8,
                                                           temperature=0, logprobs=3) for _ in range(2)
    ]
    first, second = (answer.parse() for answer in answers)
    total = first.usage.prompt_tokens
    assert total > 500 and first.usage.prompt_tokens_details.cached_tokens < 32
    assert total - 16 <= second.usage.prompt_tokens_details.cached_tokens <= total - 1
    assert first.choices[0].text == second.choices[0].text
    assert first.choices[0].logprobs == second.choices[0].logprobs  # bit for bit
    for answer in answers:
        usage, headers = answer.parse().usage, answer.headers
        details = usage.prompt_tokens_details
        assert int(headers["x-prefixd-cached-tokens"]) == details.cached_tokens
        computed = int(headers["x-prefixd-computed-tokens"])
        assert details.cached_tokens + computed == usage.prompt_tokens
        sources = dict(part.split("=") for part in headers["x-prefixd-cache-source"].split(","))
        assert sum(map(int, sources.values())) == details.cached_tokens
        assert set(sources) == {"device", "host", "disk", "shared"}
        assert details.cached_tokens + details.cache_write_tokens <= usage.prompt_tokens


def test_101_conversations_grow_in_the_cache(server):
    messages, previous = [{"role": "system", "content": prompt_of(60, 101)}], 0
    for turn in range(4):
        messages.append({"role": "user", "content": f"Question {turn}?"})
        answer = server.chat(messages=messages, max_tokens=12)
        assert answer.usage.prompt_tokens_details.cached_tokens >= previous - 16
        previous = answer.usage.prompt_tokens
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})


def test_102_a_changed_prompt_hits_up_to_the_change(server):
    prompt = prompt_of(200, 102)
    server.complete(prompt=prompt, max_tokens=1)
    middle = len(prompt) // 2
    changed = server.complete(prompt=prompt[:middle] + "!" + prompt[middle + 1:], max_tokens=1).usage
    share = changed.prompt_tokens_details.cached_tokens / changed.prompt_tokens
    assert 0.3 < share < 0.6


def test_103_salts_do_not_share(server):
    prompt = prompt_of(100, 103)
    cached = [
        server.complete(prompt=prompt, max_tokens=1,
                        extra_body={"cache_salt": salt}).usage.prompt_tokens_details.cached_tokens
        for salt in ("a", "b", "a")
    ]
    assert cached[0] == 0 and cached[1] == 0 and cached[2] > 100


def test_105_another_tail_hits_up_to_the_breakpoint(server):
    past_a_block = []
    for words in (60, 90, 101):
        part = {"type": "text", "text": prompt_of(words, 105 + words),
                "prompt_cache_breakpoint": {"mode": "explicit"}}
        asked = [[{"role": "user", "content": [part, {"type": "text", "text": tail}]}]
                 for tail in ("\n\nFirst? " + prompt_of(9, 1), "\n\nOther words. " + prompt_of(9, 2))]
        usages, ids = [], []
        for messages in asked:
            usages.append(server.chat(messages=messages, max_tokens=1).usage.prompt_tokens_details)
            ids.append(server.json("POST", "/tokenize", {"messages": messages})[1]["tokens"])
        common = next(i for i, (one, other) in enumerate(zip(*ids)) if one != other)
        assert usages[1].cached_tokens >= common - 1
        past_a_block.append(usages[1].cached_tokens % 16)
    assert any(past_a_block)


def test_138_metrics(server):
    from prometheus_client.parser import text_string_to_metric_families

    def counters():
        found = {}
        for family in text_string_to_metric_families(server.raw("GET", "/metrics")[2].decode()):
            if family.type == "counter":
                found.update({(sample.name, tuple(sorted(sample.labels.items()))): sample.value
                              for sample in family.samples})
        return found

    before = counters()
    server.chat()
    after = counters()
    assert all(after[key] >= value for key, value in before.items())
    name = "prefixd_prompt_tokens_total"

    def total(samples):
        return sum(value for key, value in samples.items() if key[0] == name)

    assert total(after) > total(before)


@pytest.mark.parametrize("body", [
    b"[" * 10000,
    b'{"prompt":' + b"[" * 10000,
    b'{"prompt":"a","max_tokens":' + b"9" * 400 + b"}",
    b'{"prompt":"a","temperature":1e999}',
    b'{"prompt":"a","temperature":NaN}',
    b'{"prompt":"\\ud800"}',
    b'{"prompt":"a","prompt":"b","max_tokens":1}',
    b'{"prompt":"a\\u0000b","max_tokens":1}',
    b'{"prompt":"a","seed":18446744073709551616}',
    b'{"prompt":[1e400]}',
])
def test_139_hostile_json(server, body):
    assert server.raw("POST", "/v1/completions", body)[0] in (200, 400)
    assert server.raw("GET", "/health")[0] == 200
