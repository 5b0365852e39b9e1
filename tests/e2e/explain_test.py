"""Tests what a client is told of its misses, and that answers which are sent back keep their ids on request:
conversations of sampled answers, and a loop of calls, with the demo model."""

import json

import pytest

from daemon import Daemon
from tool_loop_test import BLOCK, HERMES, TOOLS

TURNS = 20
# Answers of odd tokens, many of whose texts have other tokens when they are sent back.
ODD = {"temperature": 2, "min_tokens": 20, "repetition_penalty": 2}


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


def ask(daemon, **fields):
    status, _, text = daemon.request("POST", "/v1/chat/completions", {"max_tokens": 24, **fields})
    assert status == 200, text
    return json.loads(text)


def explain(daemon, answer):
    status, _, text = daemon.get(f"/v1/cache/explain?response_id={answer['id']}")
    assert status == 200, text
    told = json.loads(text)
    assert told["cached_tokens"] + told["computed_tokens"] == told["prompt_tokens"]
    assert sum(told["miss_tokens"].values()) == told["computed_tokens"]
    return told


def talk(daemon, **fields):
    """A conversation of sampled answers. Yields for each turn after the first its answer, and the number of
    tokens of the turn before with its answer. The last token of an answer has no KV."""
    messages, before = [], 0
    for turn in range(TURNS):
        messages.append({"role": "user", "content": f"And {turn}?"})
        answer = ask(daemon, **{"messages": messages, "temperature": 1, "seed": turn, **fields})
        if turn > 0:
            yield answer, before
        usage = answer["usage"]
        before = usage["prompt_tokens"] + usage["completion_tokens"]
        messages.append(answer["choices"][0]["message"])


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_with_reuse_each_turn_reaches_the_last_user_message(daemon):
    for answer, before in talk(daemon, cache_salt="reuse", reuse_generated_ids=True, **ODD):
        assert cached(answer) >= (before - 2) // BLOCK * BLOCK, explain(daemon, answer)["explanation"]
        assert explain(daemon, answer)["comparison"]["change"] == "none"


def test_without_reuse_the_explanation_names_each_divergence(daemon):
    diverged = 0
    for answer, before in talk(daemon, cache_salt="plain", **ODD):
        told = explain(daemon, answer)
        if cached(answer) < (before - 2) // BLOCK * BLOCK:
            diverged += 1
            assert told["comparison"]["change"] in ("tokenization", "template"), told
            assert told["comparison"]["in_answer"], told
            assert told["first_miss"]["reason"] == "template_diverged", told
    assert diverged > 0


def test_reuse_does_not_depend_on_the_cache():
    prompts = []
    for options in ((), ("--no-prefix-cache",)):
        with Daemon("--reuse-generated-ids", *options) as started:
            answers = [answer for answer, _ in talk(started, return_token_ids=True)]
            prompts.append([(answer["prompt_token_ids"], answer["choices"][0]["token_ids"])
                            for answer in answers])
    assert prompts[0] == prompts[1]


NOTE = [{"type": "function", "function": {"name": "note", "parameters": {
    "type": "object", "required": ["text"],
    "properties": {"text": {"type": "string", "pattern": "^[a-z ]{1,30}$"}}}}}]


def loop(daemon, tools, **fields):
    """A loop of calls. Yields as `talk` does."""
    messages, before = [{"role": "user", "content": "Which port does the cache use?"}], 0
    for turn in range(10):
        answer = ask(daemon, **{"messages": messages, "tools": tools, "tool_choice": "required", "seed": turn,
                                "temperature": 1, "parallel_tool_calls": False, "max_tokens": 300, **fields})
        if turn > 0:
            yield answer, before
        usage = answer["usage"]
        before = usage["prompt_tokens"] + usage["completion_tokens"]
        message = answer["choices"][0]["message"]
        messages.append(message)
        for call in message["tool_calls"]:
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": f"result {turn}"})


@pytest.fixture(scope="module")
def hermes(tmp_path_factory):
    file = tmp_path_factory.mktemp("template") / "chat.jinja"
    file.write_text(HERMES)
    with Daemon("--chat-template", file, "--block-tokens", BLOCK) as started:
        yield started


@pytest.mark.parametrize("tools", [TOOLS, NOTE], ids=["values", "text"])
def test_with_reuse_a_loop_of_calls_finds_what_came_before(hermes, tools):
    for answer, before in loop(hermes, tools, cache_salt="reuse", reuse_generated_ids=True):
        assert cached(answer) >= (before - 2) // BLOCK * BLOCK, explain(hermes, answer)["explanation"]


def test_without_reuse_a_loop_of_calls_is_explained(hermes):
    """The grammar of a forced call leads to the ids that its text encodes to, so that most turns find all."""
    for answer, before in loop(hermes, NOTE, cache_salt="plain", temperature=2):
        comparison = explain(hermes, answer)["comparison"]
        if cached(answer) >= (before - 2) // BLOCK * BLOCK:
            assert comparison["change"] == "none", comparison
        else:
            assert (comparison["change"], comparison["in_answer"]) == ("tokenization", True), comparison


def test_what_was_evicted_says_so():
    with Daemon("--block-tokens", BLOCK, "--context", 256, device_cache="2MiB") as started:
        first = started.complete(prompt=[7] * 200, max_tokens=1)
        for i in range(8):
            started.complete(prompt=[i + 10] * 200, max_tokens=1)
        again = started.complete(prompt=[7] * 200, max_tokens=1)
        told = explain(started, again)
        assert told["comparison"]["response_id"] == first["id"]
        assert told["comparison"]["change"] == "none"
        assert told["first_miss"]["reason"] == "evicted_device", told
        assert told["first_miss"]["lost"] > 0
