"""Tests requests with more choices or prompts than the queue admits at once: they run in turn."""

import json
import threading

import pytest

from daemon import Daemon, wait_until

SMALL_QUEUE = ("--max-sequences", 1, "--max-queue", 2)
FIELDS = {"max_tokens": 6, "temperature": 1, "seed": 3, "ignore_eos": True, "return_token_ids": True}
LARGE_REQUESTS = {
    "choices": {"prompt": "prefixd is", "n": 8},
    "best of": {"prompt": "prefixd is", "n": 2, "best_of": 9},
    "prompts": {"prompt": ["Once", "The cache", "a a a", "Which port"]},
    "prompts and choices": {"prompt": [[5, 6, 7], [8], [5, 6, 9]], "n": 3},
    "log probabilities": {"prompt": ["Once", "The"], "n": 4, "logprobs": 2, "echo": True},
    "thousand prompts": {"prompt": [[i % 400 + 5, i // 400 + 5] for i in range(1000)], "max_tokens": 1},
}


def answers(daemon, fields):
    return daemon.complete(**{**FIELDS, **fields})["choices"]


def streamed_ids(daemon, fields):
    ids = {}
    response = daemon.start_stream(**{**FIELDS, **fields})
    lines = [response.first, *response.read().decode().splitlines()]
    assert lines[-2:] == ["data: [DONE]", ""]
    for line in lines:
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                ids.setdefault(choice["index"], []).extend(choice["token_ids"])
    return [ids[index] for index in range(len(ids))]


@pytest.fixture(scope="module")
def large():
    with Daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def small():
    with Daemon(*SMALL_QUEUE) as daemon:
        yield daemon


@pytest.mark.parametrize("name", LARGE_REQUESTS)
def test_answers_are_those_of_a_large_queue(large, small, name):
    expected = answers(large, LARGE_REQUESTS[name])
    assert len(expected) > 1
    assert answers(small, LARGE_REQUESTS[name]) == expected
    if name in ("choices", "prompts", "thousand prompts"):
        assert streamed_ids(small, LARGE_REQUESTS[name]) == [choice["token_ids"] for choice in expected]


@pytest.mark.parametrize("options", [("--max-sequences", 1, "--max-queue", 1),
                                     ("--max-sequences", 3, "--max-queue", 2),
                                     ("--max-tokens-in-flight", 64, "--context", 64)])
def test_other_small_limits(large, options):
    fields = {"prompt": [[i + 5] * 40 for i in range(5)], "n": 2}
    with Daemon(*options) as daemon:
        assert answers(daemon, fields) == answers(large, fields)


def test_what_can_never_run_is_a_400_with_value_and_limit(small):
    for fields, words in (({"n": 17}, ("17", "16")),
                          ({"max_tokens": 100_000}, ("100001", "maximum context length")),
                          ({"prompt": ["a"] * 2049}, ("2048", "2049")),
                          ({"prompt": ["a"] * 1000, "n": 3}, ("1000 prompts", "3000", "2048"))):
        status, _, text = small.request("POST", "/v1/completions", {"prompt": [5], **fields})
        assert status == 400, text
        assert all(word in json.loads(text)["error"]["message"] for word in words), text


def test_others_get_turns_and_a_disconnect_ends_all(small):
    stream = small.start_stream(prompt=[[5]] * 500, max_tokens=64, ignore_eos=True)
    other = small.complete(prompt="The cache", max_tokens=1)
    assert other["usage"]["completion_tokens"] == 1
    running = small.metrics()
    assert running[("vllm:num_requests_running", (("model_name", "demo"),))] == 1, "the large one still runs"
    stream.close()
    wait_until(lambda: small.logged("status=499"), "the log line of the cancelled request")
    line = next(line for line in small.log if "status=499" in line)
    assert "prompts=500" in line and "cut:" in line
    after = small.metrics()
    assert after[("vllm:num_requests_running", (("model_name", "demo"),))] == 0
    assert after[("vllm:num_requests_waiting", (("model_name", "demo"),))] == 0
    assert after[("prefixd_inflight_bytes", ())] == 0


def test_two_large_requests_and_short_ones_all_end(small):
    results = []

    def run(fields):
        status = 429  # until its first sequence finds a place
        while status == 429:
            status, _, text = small.request("POST", "/v1/completions", {**FIELDS, **fields})
        results.append(json.loads(text)["choices"])

    large = [threading.Thread(target=run, args=({"prompt": [[i + 5]] * 40},)) for i in range(2)]
    for thread in large:
        thread.start()
    while any(thread.is_alive() for thread in large):
        status, headers, _ = small.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})
        assert status in (200, 429), status
        assert status == 200 or int(headers["Retry-After"]) <= 60
    assert [len(result) for result in results] == [40, 40]
    assert small.complete(prompt="x", max_tokens=1)["choices"]
