"""Tests routers that know workers by their HTTP API alone, in front of two daemons."""

import json
import random
import urllib.error

import pytest

from daemon import wait_until
from router_program import Router, installed, program, two_daemons

MESSAGES = [{"role": "user", "content": "What is prefixd?"}]
# NAME COMMAND
ROUTERS = [("sglang-router", ["python", "-m", "sglang_router.launch_router"]), ("smg", ["smg", "launch"])]


@pytest.fixture(scope="module", params=[pytest.param(row, id=row[0], marks=installed(row[0]))
                                        for row in ROUTERS])
def pair(request, tmp_path_factory):
    """A router, and the two daemons behind it."""
    name, (file, *arguments) = request.param
    with two_daemons() as daemons:
        with Router(tmp_path_factory.mktemp(name), program(name, file), *arguments, "--policy", "cache_aware",
                    "--host", "127.0.0.1", "--worker-urls", *[daemon.url for daemon in daemons]) as router:
            wait_until(lambda: knows_the_model(router), "the router's look at its workers")
            yield router, daemons


def knows_the_model(router):
    try:
        return router.cached("warm") >= 0
    except urllib.error.HTTPError:
        return False


def test_every_kind_of_request_is_answered(pair):
    router, daemons = pair
    chat = {"model": "demo", "messages": MESSAGES, "max_tokens": 8, "temperature": 0}
    text = json.loads(router.ask("/v1/chat/completions", **chat))["choices"][0]["message"]["content"]
    assert text == json.loads(daemons[0].request(
        "POST", "/v1/chat/completions", chat)[2])["choices"][0]["message"]["content"]
    streamed = router.ask("/v1/chat/completions", **chat, stream=True)
    assert streamed.rstrip().endswith("data: [DONE]")
    pieces = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert text == "".join(choice["delta"].get("content") or ""
                           for piece in pieces for choice in piece["choices"])
    completion = json.loads(router.ask("/v1/completions", model="demo", prompt="The cache", max_tokens=8))
    assert completion["usage"]["prompt_tokens"] > 0


def test_a_conversation_stays_with_its_daemon(pair):
    router, _ = pair
    draw = random.Random(1)
    conversations = [" ".join(str(draw.randrange(10**6)) for _ in range(60)) for _ in range(4)]
    for text in conversations:
        router.cached(text)
    for turn in range(1, 4):
        for text in conversations:
            assert router.cached(text + " and on" * turn) >= 96, (turn, text)


def test_a_daemon_that_has_ended_is_left_out(pair):
    router, daemons = pair
    daemons[1].signal()
    assert daemons[1].exit_code() == 0
    answered = 0
    for i in range(40):  # the first ones may fail, until the router knows
        try:
            router.cached(f"{i} is a number of its own")
            answered += 1
        except OSError:
            answered = 0
        if answered == 6:
            return
    raise AssertionError("the router still asks the daemon that has ended")
