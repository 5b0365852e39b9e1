"""Sends random traffic and compares the usage of all answers with the log and with the metrics at rest.

The traffic has plain and streamed chats and completions, stop strings, several choices and prompts, echo, log
probabilities, shared prefixes, and clients that leave. PREFIXD_USAGE_REQUESTS=2000 sends more of it.
"""

import concurrent.futures
import json
import os
import random

import pytest
from daemon import Daemon, wait_until

REQUESTS = int(os.environ.get("PREFIXD_USAGE_REQUESTS", "200"))
WORDS = "the cache of a prompt never computes one prefix twice so that it can sing and dance all day".split()
DEVICE_CACHE = {"large pool": "64MiB", "tiny pool": "512KiB", "no cache": "4MiB"}


def draw(rng):
    """Returns the path and the body of a random request."""
    text = " ".join(WORDS[:rng.choice((3, 6, 12, 18))] + rng.choices(WORDS, k=rng.randint(1, 30)))
    body = {"temperature": rng.choice((0, 1)), "max_tokens": rng.choice((0, 1, 5, 20, 40, 150, 150)),
            "seed": rng.randrange(5), "ignore_eos": rng.random() < 0.5}
    if rng.random() < 0.4:
        body["stop"] = rng.choice((["e"], ["an"], [" the", "ing"], ["never"], ["x", " "]))
        body["include_stop_str_in_output"] = rng.random() < 0.3
    if rng.random() < 0.3:
        body["n"] = rng.randint(2, 4)
    if rng.random() < 0.1:
        body["cache_prompt"] = False
    if rng.random() < 0.5:
        body["stream"] = True
        body["stream_options"] = {"include_usage": rng.random() < 0.7,
                                  "continuous_usage_stats": rng.random() < 0.5}
    if rng.random() < 0.5:
        return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}
    body["prompt"] = [text, text + " and again"] if rng.random() < 0.2 else text
    body["echo"] = rng.random() < 0.3
    if rng.random() < 0.2:
        body["logprobs"] = 1
    if "n" not in body and "stream" not in body and rng.random() < 0.3:
        body["best_of"] = 3
    return "/v1/completions", body


def read_stream(response, leave_after):
    """Reads a stream. Returns its last usage, or None if it had none or was left."""
    events, usage = 0, None
    for line in response:
        line = line.decode().strip()
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line[6:])
        assert "error" not in event, event
        usage = event.get("usage") or usage
        events += 1
        if events == leave_after:
            return None
    return usage


def send(daemon, seed):
    """Sends a request. Returns its id and its usage; the usage is None if the answer had or got none."""
    rng = random.Random(seed)
    path, body = draw(rng)
    leave_after = rng.randint(1, 6) if body.get("stream") and rng.random() < 0.3 else 0
    connection = daemon.connect()
    connection.request("POST", path, json.dumps({"model": "demo", **body}),
                       {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, (body, response.read())
    identity = response.headers["x-request-id"]
    usage = read_stream(response, leave_after) if body.get("stream") else json.loads(response.read())["usage"]
    connection.close()
    return identity, usage


def end_lines(daemon):
    """Returns the lines that the daemon has logged for ended requests, by id."""
    lines = [json.loads(line) for line in list(daemon.log) if line and line.startswith("{")]
    return {line["request_id"]: line for line in lines if line["message"] == "request"}


def check_usage(usages, lines):
    """Compares what clients saw with the log."""
    seen = {identity: usage for identity, usage in usages if usage is not None}
    for identity, usage in seen.items():
        details, line = usage["prompt_tokens_details"], lines[identity]
        assert line["status"] == 200
        assert usage["prompt_tokens"] == line["prompt_tokens"]
        assert usage["completion_tokens"] == line["generated_tokens"]
        assert details["cached_tokens"] == line["prompt_tokens"] - line["computed_tokens"]
        assert 0 <= details["cache_write_tokens"] <= line["computed_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert len(seen) > REQUESTS / 3
    return seen


def check_sums(samples, lines, seen):
    """Compares the metrics at rest with the log."""
    def total(name, **labels):
        return sum(value for (found, pairs), value in samples.items()
                   if found == name and labels.items() <= dict(pairs).items())

    generated = sum(line["generated_tokens"] for line in lines.values())
    answered = [line for line in lines.values() if line["status"] == 200]
    prompts = sum(line["prompt_tokens"] for line in answered)
    computed = sum(line["computed_tokens"] for line in answered)
    left = generated - sum(line["generated_tokens"] for line in answered)
    assert total("vllm:generation_tokens_total") == generated
    assert total("prefixd_unanswered_tokens_total", kind="generated") == left
    unanswered = total("prefixd_unanswered_tokens_total", kind="prompt")
    assert unanswered <= sum(line["prompt_tokens"] for line in lines.values()) - prompts
    repeated = total("prefixd_repeated_prompt_tokens_total")
    assert total("vllm:prompt_tokens_total") == prompts + repeated + unanswered
    assert total("prefixd_prompt_tokens_total") == total("vllm:prompt_tokens_total")
    computed_ones = (total("prefixd_prompt_tokens_total", source="computed") -
                     total("prefixd_repeated_prompt_tokens_total", source="computed"))
    assert computed <= computed_ones <= computed + unanswered
    assert total("prefixd_cache_miss_tokens_total") == total("prefixd_prompt_tokens_total", source="computed")
    written = sum(usage["prompt_tokens_details"]["cache_write_tokens"] for usage in seen.values())
    assert written <= total("prefixd_cache_write_tokens_total", part="prompt")
    assert total("prefixd_blocks", state="leased") == 0
    assert total("vllm:num_requests_running") == total("vllm:num_requests_waiting") == 0
    return total


@pytest.mark.parametrize("pool", DEVICE_CACHE)
def test_usage_of_random_traffic_sums_to_the_metrics(pool):
    options = ["--log-format", "json", "--context", 256, "--max-sequences", 12]
    options += ["--no-prefix-cache"] if pool == "no cache" else []
    with Daemon(*options, device_cache=DEVICE_CACHE[pool]) as daemon:
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            usages = list(threads.map(lambda i: send(daemon, f"{pool} {i}"), range(REQUESTS)))
        wait_until(lambda: len(end_lines(daemon)) == REQUESTS, "the end of all requests")
        lines = end_lines(daemon)
        total = check_sums(daemon.metrics(), lines, check_usage(usages, lines))
        if pool == "tiny pool":
            assert total("vllm:num_preemptions_total") > 0
            assert total("prefixd_tier_evictions_total") > 0
        assert (total("prefixd_cache_write_tokens_total") == 0) == (pool == "no cache")
        assert total("prefixd_unanswered_tokens_total") > 0, "no client left"
        assert total("prefixd_repeated_prompt_tokens_total") > 0


def test_written_tokens_sum_to_what_the_cache_holds():
    """Prompts of full blocks and one generated token: the cache holds the blocks of the prompts alone."""
    with Daemon() as daemon:
        prompts = [[400 + seed] * length for seed in range(4) for length in (16, 48, 64, 16, 48)]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda ids: daemon.complete(prompt=ids, n=2, max_tokens=1), prompts))
        written = sum(answer["usage"]["prompt_tokens_details"]["cache_write_tokens"] for answer in answers)
        samples = daemon.metrics()
        cached = samples["prefixd_blocks", (("state", "cached"), ("tier", "device"))]
        assert written == 16 * cached == 4 * 64
        assert samples["prefixd_cache_write_tokens_total", (("part", "prompt"),)] == written


def test_a_prompt_that_is_sent_twice_writes_nothing():
    with Daemon() as daemon:
        for seed, length in enumerate((15, 16, 17, 32, 40)):
            for sent in range(3):
                usage = daemon.complete(prompt=[500 + seed] * length, max_tokens=1 + 20 * sent)["usage"]
                expected = length // 16 * 16 if sent == 0 else 0
                assert usage["prompt_tokens_details"]["cache_write_tokens"] == expected, (length, sent)


def test_stopped_answers_count_equally():
    with Daemon() as daemon:
        used = 0
        for stop in ("can", "a", "e", " ", "I can"):
            for _ in range(4):
                status, _, text = daemon.request("POST", "/v1/chat/completions", {
                    "model": "demo", "temperature": 0, "stop": stop, "max_tokens": 60,
                    "messages": [{"role": "user", "content": "Hello"}]})
                assert status == 200, text
                used += json.loads(text)["usage"]["completion_tokens"]
        wait_until(lambda: daemon.metrics()["prefixd_blocks", (("state", "leased"), ("tier", "device"))] == 0,
                   "the end of the steps in flight")
        assert daemon.metrics()["vllm:generation_tokens_total", (("model_name", "demo"),)] == used
