"""Checks with the official clients what `prefixd_session` does on every route: it deletes nothing, what waits
for a tool survives what evicts everything else, what ended goes first, and the metrics say whether the hints
were right."""

import anthropic
import openai
import pytest

from daemon import Daemon, wait_until
from retention_test import BLOCK, PREWARMS, capacity, counts, flood


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK, "--context", 512, "--eviction", "lru",
                device_cache="4MiB") as started:
        yield started


@pytest.fixture(scope="module")
def clients(daemon):
    return (openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0),
            anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0))


def ask(clients, name, text, hint=None):
    """Returns how many tokens were cached."""
    fields = {"max_output_tokens" if name == "responses" else "max_tokens": 2}
    if hint:
        fields["extra_body"] = {"prefixd_session": hint}
    return counts(name, PREWARMS[name](*clients, text, **fields).usage)[0]


def blocks(daemon, hint, outcome):
    return daemon.metrics()["prefixd_session_hint_blocks_total", (("hint", hint), ("outcome", outcome))]


@pytest.mark.parametrize("name", PREWARMS)
@pytest.mark.parametrize("hint", ["ended", "one_shot"])
def test_what_comes_back_all_the_same_is_found_and_the_hint_was_wrong(daemon, clients, name, hint):
    text, before = f"{hint} of {name} is said of this prompt. " * 6, blocks(daemon, hint, "wrong")
    ask(clients, name, text, hint)
    assert ask(clients, name, text) >= 3 * BLOCK
    wait_until(lambda: blocks(daemon, hint, "wrong") - before >= 3, "the score")


@pytest.mark.parametrize("name", PREWARMS)
def test_what_waits_for_a_tool_survives_a_flood(daemon, clients, name):
    text, before = f"Here {name} waits for a tool. " * 8, blocks(daemon, "tool_pending", "right")
    ask(clients, name, text, "tool_pending")
    flood(daemon, 10 + len(name))
    assert ask(clients, name, text) >= 3 * BLOCK
    wait_until(lambda: blocks(daemon, "tool_pending", "right") - before >= 3, "the score")


def test_what_ended_makes_room_for_others(daemon):
    """As much as the cache holds comes in between: what is older stays, for what ended goes first."""
    older = list(range(300, 300 + 8 * BLOCK))
    flood(daemon, 30)
    daemon.complete(prompt=older, max_tokens=1)
    right = blocks(daemon, "ended", "right")
    for i in range(int(3 * capacity(daemon)) // 20 + 1):
        prompt = [5 + (i * 131 + k * k) % 200 for k in range(20 * BLOCK)]
        daemon.complete(prompt=[600 + i, *prompt], max_tokens=1, prefixd_session="ended")
    cached = daemon.complete(prompt=older, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= 7 * BLOCK
    wait_until(lambda: blocks(daemon, "ended", "right") > right, "the score")


@pytest.mark.parametrize("value", ["never", 1, True])
@pytest.mark.parametrize("path, body", [
    ("/v1/completions", {"prompt": "a"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ("/v1/responses", {"input": "a"}),
    ("/v1/messages", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})])
def test_a_wrong_value_is_named(daemon, path, body, value):
    status, _, text = daemon.request("POST", path, {"model": "demo", **body, "prefixd_session": value})
    assert status == 400 and "prefixd_session" in text, text
