"""Tests the effect of every request option with the official client, in streams and in whole answers."""

import json
import threading

import openai
import pytest

from conformance_server import USER, parse_events, server
from daemon import Daemon

IGNORE_EOS = {"ignore_eos": True}


def ids_of(server, text):
    return server.json("POST", "/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]


def text_of(server, **fields):
    return server.complete(max_tokens=24, **fields).choices[0].text


def streamed(server, **fields):
    texts = {}
    for chunk in server.complete(max_tokens=24, stream=True, **fields):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return [texts[index] for index in sorted(texts)]


def test_34_a_bias_of_100_forces_a_token_and_of_minus_100_bans_it(server):
    token = ids_of(server, " cache")[0]
    answer = server.complete(max_tokens=3, logit_bias={str(token): 100},
                             extra_body={"return_token_ids": True, **IGNORE_EOS})
    assert answer.choices[0].token_ids == [token] * 3
    chat = server.chat(max_tokens=2, logit_bias={str(token): 100},
                       extra_body={"return_token_ids": True, **IGNORE_EOS})
    assert chat.choices[0].token_ids == [token] * 2
    plain = server.complete(max_tokens=1, extra_body={"return_token_ids": True}).choices[0].token_ids[0]
    banned = server.complete(max_tokens=8, logit_bias={str(plain): -100},
                             extra_body={"return_token_ids": True}).choices[0].token_ids
    assert plain not in banned


@pytest.mark.parametrize("bias", [{"x": 1}, {"-1": 1}, {"9999999": 1}, {"5": 101}, {"5": "1"}, [[5, 1]]])
def test_34_bad_biases(server, bias):
    status, body = server.json("POST", "/v1/completions", {"prompt": "a", "logit_bias": bias})
    assert status == 400 and body["error"]["param"] == "logit_bias"


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 5}}])
def test_penalties_make_texts_repeat_less(server, penalty):
    def distinct(fields):
        extra = {"return_token_ids": True, **IGNORE_EOS, **fields.get("extra_body", {})}
        choices = server.complete(prompt=["prefixd is", "The cache", "a a a a", "Which port does"],
                                  max_tokens=40, **{**fields, "extra_body": extra}).choices
        return sum(len(set(choice.token_ids)) for choice in choices)

    assert distinct(penalty) > distinct({})


def test_seeds_repeat_with_every_option(server):
    fields = {
        "temperature": 1.3, "top_p": 0.95, "presence_penalty": 0.5, "frequency_penalty": 0.25,
        "logit_bias": {"40": 2, "41": -3}, "n": 3,
        "extra_body": {"top_k": 50, "min_p": 0.001, "repetition_penalty": 1.1, **IGNORE_EOS}
    }

    def texts(seed):
        answer = server.complete(max_tokens=20, **{**fields, "seed": seed})
        return [choice.text for choice in answer.choices]

    first, second = texts(11), texts(11)
    assert first == second and len(set(first)) == 3
    assert first != texts(12)


SAMPLED = {"temperature": 1.1, "seed": 5}
EQUAL_OPTIONS = {
    "penalties": {**SAMPLED, "presence_penalty": 1, "frequency_penalty": 0.5},
    "repetition": {**SAMPLED, "extra_body": {"repetition_penalty": 1.3}},
    "bias": {**SAMPLED, "logit_bias": {"30": 4}},
    "choices": {**SAMPLED, "n": 4},
    "filters": {**SAMPLED, "top_p": 0.8, "extra_body": {"top_k": 20, "min_p": 0.01}},
    "stop": {**SAMPLED, "stop": ["e", " the"]},
    "kept stop": {**SAMPLED, "stop": ["e"], "extra_body": {"include_stop_str_in_output": True}},
    "special tokens": {**SAMPLED, "extra_body": {"skip_special_tokens": False, **IGNORE_EOS}},
    "echo": {**SAMPLED, "echo": True},
    "echo with logprobs": {**SAMPLED, "echo": True, "logprobs": 2, "n": 2},
    "cut prompt": {**SAMPLED, "echo": True, "extra_body": {"truncate_prompt_tokens": 2}},
    "no cache": {**SAMPLED, "extra_body": {"cache_prompt": False}},
    "least": {**SAMPLED, "stop": "a", "extra_body": {"min_tokens": 12}},
}


@pytest.mark.parametrize("name", EQUAL_OPTIONS)
def test_streams_equal_whole_answers(server, name):
    fields = EQUAL_OPTIONS[name]
    whole = [choice.text for choice in server.complete(max_tokens=24, **fields).choices]
    assert streamed(server, **fields) == whole


def test_best_of(server):
    fields = {"temperature": 1.5, "seed": 3, "max_tokens": 10, "extra_body": IGNORE_EOS}
    all_five = server.complete(**fields, n=5, logprobs=0)
    assert all_five.usage.completion_tokens == 50

    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    ranked = [choice.text for choice in sorted(all_five.choices, key=mean, reverse=True)]
    best = server.complete(**fields, n=2, best_of=5)
    assert [choice.text for choice in best.choices] == ranked[:2]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == 50 and best.choices[0].logprobs is None
    for wrong in ({"best_of": 3, "stream": True}, {"best_of": 2, "n": 3}, {"best_of": 21}):
        with pytest.raises(openai.BadRequestError) as error:
            server.complete(**wrong)
        assert error.value.param == "best_of"


def test_92_echo_scores_the_prompt(server):
    prompt = "prefixd is a daemon that serves"
    scored = server.complete(prompt=prompt, echo=True, logprobs=1, max_tokens=0)
    logprobs = scored.choices[0].logprobs
    ids = server.json("POST", "/tokenize", {"prompt": prompt})[1]["tokens"]
    assert scored.choices[0].text == prompt and scored.choices[0].finish_reason == "length"
    assert scored.usage.completion_tokens == 0
    for entries in (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset):
        assert len(entries) == len(ids)
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert logprobs.text_offset == sorted(logprobs.text_offset)
    # Each score equals, bit for bit, the one that the model gives for that token after the tokens before it.
    for at in (1, len(ids) // 2, len(ids) - 1):
        one = server.complete(prompt=ids[:at], max_tokens=1, logprobs=0,
                              logit_bias={str(ids[at]): 100}).choices[0].logprobs
        assert one.token_logprobs[0] == logprobs.token_logprobs[at]
    longer = server.complete(prompt=prompt, echo=True, logprobs=1, max_tokens=4,
                             extra_body=IGNORE_EOS).choices[0].logprobs
    assert longer.token_logprobs[:len(ids)] == logprobs.token_logprobs and len(longer.tokens) == len(ids) + 4
    answer = server.complete(prompt=prompt, logprobs=1, max_tokens=4,
                             extra_body=IGNORE_EOS).choices[0].logprobs
    assert longer.token_logprobs[len(ids):] == answer.token_logprobs
    assert longer.text_offset[len(ids):] == [offset + len(prompt) for offset in answer.text_offset]


def test_prompt_logprobs(server):
    ids = server.json("POST", "/tokenize", {"prompt": "prefixd is a daemon"})[1]["tokens"]
    for _ in range(2):  # the second time the prompt is in the cache
        listed = server.complete(prompt=ids, max_tokens=1,
                                 extra_body={"prompt_logprobs": 2}).choices[0].prompt_logprobs
        assert len(listed) == len(ids) and listed[0] is None
        for token, entries in zip(ids[1:], listed[1:]):
            assert 2 <= len(entries) <= 3 and {entry["rank"] for entry in entries.values()} >= {1, 2}
            mine = entries[str(token)]
            ranked = sorted(entries.values(), key=lambda entry: entry["rank"])
            values = [entry["logprob"] for entry in ranked]
            assert values == sorted(values, reverse=True) and mine in ranked
    chat = server.chat(max_tokens=1, extra_body={"prompt_logprobs": 0})
    assert len(chat.prompt_logprobs) == chat.usage.prompt_tokens
    status, body = server.json("POST", "/v1/completions",
                               {"prompt": "a", "prompt_logprobs": 1, "stream": True})
    assert status == 400 and body["error"]["param"] == "prompt_logprobs"


def test_cache_prompt_false_reads_nothing_from_the_cache(server):
    prompt = "No other test sends this prompt, and it is long enough for several blocks of the cache. " * 4
    counts = []
    for cache_prompt in (False, True, False):
        answer = server.complete(prompt=prompt, max_tokens=1, extra_body={"cache_prompt": cache_prompt})
        counts.append(answer.usage.prompt_tokens_details.cached_tokens)
    assert counts[0] == counts[2] == 0 and counts[1] > 32


def test_lengths_and_names(server):
    ids = [100 + i % 50 for i in range(server.client.models.list().data[0].max_model_len)]
    full = server.complete(prompt=ids, max_tokens=0)
    assert full.choices[0].finish_reason == "length" and full.usage.prompt_tokens == len(ids)
    with pytest.raises(openai.BadRequestError) as error:
        server.complete(prompt=ids, max_tokens=1)
    assert error.value.code == "context_length_exceeded"
    three = server.complete(max_tokens=None, extra_body={"n_predict": 3, **IGNORE_EOS})
    assert three.usage.completion_tokens == 3
    assert server.complete(prompt=ids[:9], max_tokens=1,
                           extra_body={"truncate_prompt_tokens": 4}).usage.prompt_tokens == 4
    named = server.complete(
        max_tokens=2, logprobs=1,
        extra_body={"return_tokens_as_token_ids": True, "return_token_ids": True, **IGNORE_EOS}).choices[0]
    assert named.logprobs.tokens == [f"token_id:{token}" for token in named.token_ids]


def test_echo_of_a_chat(server):
    messages = [*USER, {"role": "assistant", "content": "prefixd is"}]
    extra = {"echo": True, "continue_final_message": True, "add_generation_prompt": False}
    whole = server.chat(messages=messages, max_tokens=6, extra_body=extra).choices[0].message.content
    assert whole.startswith("prefixd is")
    pieces = [
        choice.delta.content or ""
        for chunk in server.chat(messages=messages, max_tokens=6, stream=True, extra_body=extra)
        for choice in chunk.choices
    ]
    assert "".join(pieces) == whole


def test_tokenize_passes_all_fields_to_the_template(server):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    for more in ({}, {"tools": tools}, {"add_generation_prompt": False},
                 {"chat_template_kwargs": {"enable_thinking": False}},
                 {"documents": [{"title": "t", "text": "x"}]}):
        prompt = server.json("POST", "/apply-template", {"messages": USER, **more})[1]["prompt"]
        tokens = server.json("POST", "/tokenize", {"messages": USER, **more})[1]["tokens"]
        assert tokens == server.json("POST", "/tokenize",
                                     {"prompt": prompt, "add_special_tokens": False})[1]["tokens"]
    assert server.json("POST", "/tokenize",
                       {"messages": USER, "chat_template": "x"})[1]["error"]["param"] == "chat_template"


def test_requests_with_many_choices_compute_a_shared_prompt_once():
    with Daemon("--max-sequences", "32", "--max-queue", "256") as daemon:
        text = " ".join(f"cache{i % 10} block{i % 7}" for i in range(1200))
        prefix = json.loads(daemon.request("POST", "/tokenize", {"prompt": text})[2])["tokens"][:1024]
        source = ("prefixd_prompt_tokens_total", (("model_name", "demo"), ("source", "computed")))
        before = daemon.metrics()
        answers = []

        def ask(index):
            client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
            answers.append(
                client.completions.create(model="demo", prompt=prefix + [200 + index], n=8, max_tokens=2,
                                          temperature=1, seed=index))

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 16 and all(len(answer.choices) == 8 for answer in answers)
        after = daemon.metrics()
        computed = [key for key in after if key[0] == source[0] and ("source", "computed") in key[1]]
        total = sum(after[key] - before[key] for key in computed)
        # The prefix is computed once. Each further sequence computes only its last token, to get logits.
        assert 1024 < total <= 1025 + 16 * 8 + 16


def test_log_lines_have_figures_and_no_text():
    canary = "CANARYINACOALMINE"
    with Daemon("--log-level", "debug") as daemon:
        daemon.complete(prompt=canary, max_tokens=2, stop=canary, user=canary)
        daemon.request("POST", "/v1/chat/completions",
                       {"model": "demo", "messages": [{"role": "user", "content": canary}], "max_tokens": 2})
        for body in ({"prompt": canary, "temperature": canary}, {"prompt": canary, "suffix": canary},
                     {"model": canary}, {"prompt": [5, canary]}):
            assert daemon.request("POST", "/v1/completions", body)[0] >= 400
        assert daemon.request("POST", "/v1/chat/completions",
                              {"messages": [{"role": canary, "content": canary}]})[0] == 400
        assert daemon.request("POST", f"/v1/{canary}", {})[0] == 404
        daemon.signal()
        assert daemon.exit_code() == 0
        log = [line for line in daemon.log if line]
    assert not any(canary in line for line in log)
    lines = [line for line in log if " endpoint=" in line]
    assert len(lines) == 2 and sum("request refused" in line for line in log) == 5
    for name in ("request_id", "status=200", "prompts=1", "choices=1", "finish_reasons", "prompt_tokens",
                 "computed_tokens", "device_tokens", "host_tokens", "disk_tokens", "shared_tokens",
                 "generated_tokens", "queue_seconds", "ttft_seconds", "decode_tokens_per_second",
                 "duration_seconds"):
        assert all(name in line for line in lines), name


def test_health_answers_while_long_prompts_are_tokenised():
    with Daemon("--io-threads", "1", "--max-body", "16MiB") as daemon:
        text = "prefixd " * 500_000
        results = []

        def tokenize():
            results.append(daemon.request("POST", "/tokenize", {"prompt": text}))

        threads = [threading.Thread(target=tokenize) for _ in range(2)]
        for thread in threads:
            thread.start()
        answered = 0
        while any(thread.is_alive() for thread in threads):
            assert daemon.get("/health")[0] == daemon.get("/ready")[0] == daemon.get("/metrics")[0] == 200
            answered += 1
        assert answered > 3, "the only io thread must stay free while two bodies are tokenised"
        assert [status for status, _, _ in results] == [200, 200]
        status, _, body = daemon.request("POST", "/v1/completions", {"prompt": text})
        assert status == 400 and json.loads(body)["error"]["code"] == "context_length_exceeded"


def test_the_total_size_of_bodies_is_limited():
    with Daemon("--max-body", "8MiB", "--max-inflight", "64MiB") as daemon:  # 14 MiB for bodies
        length = 8_000_000
        body = {"prompt": "x", "ignored": "x" * (length - 31)}
        first = daemon.connect()
        first.putrequest("POST", "/tokenize")
        first.putheader("Content-Length", str(length))
        first.endheaders(b'{"prompt":"x","ignored":"')
        first.send(b"x" * (length - 27))  # the end follows later
        for _ in range(100):
            status, headers, text = daemon.request("POST", "/tokenize", body)
            if status == 503:
                break
        assert status == 503 and headers["Retry-After"] == "1"
        assert json.loads(text)["error"]["code"] == "overloaded"
        assert daemon.complete(prompt="a", max_tokens=1)["choices"], "small requests are still accepted"
        first.send(b'"}')
        assert first.getresponse().status == 200
        assert daemon.request("POST", "/tokenize", body)[0] == 200
        status, _, text = daemon.request("POST", "/tokenize", {"prompt": "x" * 4_000_000})
        assert status == 413 and "--max-inflight" in text, "alone it needs more than there is"
        first.close()
