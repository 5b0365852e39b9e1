"""Checks that the figures of the cache are one set: each API spells them in its own way, streamed or not, and
they equal the headers and what the request adds to the metrics."""

import pytest

from conversation_routes import NAMES, Call, Routes, Tool, ask_and_check
from daemon import Daemon

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 6
TURNS = [("user", "What is prefixd?"), ("assistant", "A cache."), ("user", "Why is that useful?")]
QUESTIONS = ["What is prefixd?", "Why is that useful?", "Which tier is full?", "And on a disk?", "How long?",
             "What is left?"]
CALLING = 2  # the turn whose answer is the call
CALL = Call("read_tier", {"tier": "device"}, "It is full.")
TOOL = Tool("read_tier", "Reads a tier.", {
    "type": "object", "required": ["tier"], "properties": {"tier": {"type": "string"}}})


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
def test_each_api_spells_the_same_figures(daemon, stream):
    seen = {}
    for name in NAMES:
        routes = Routes(daemon, f"{name} {stream}", RULES, length=4)  # the answers fill no block
        seen[name] = [ask_and_check(routes, name, TURNS, stream) for _ in range(2)]
    assert all(answers == seen["chat"] for answers in seen.values()), seen
    first, second = seen["chat"]
    whole = first.prompt // BLOCK * BLOCK
    assert (first.cached, first.written, second.cached, second.written) == (0, whole, whole, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_six_turns_with_a_call_have_the_same_figures_through_every_route(daemon, stream):
    seen = {}
    for name in NAMES:
        routes, talk, seen[name] = Routes(daemon, f"call {name} {stream}", RULES, TOOL, length=6), [], []
        for turn, question in enumerate(QUESTIONS):
            if turn != CALLING + 1:  # a result of a tool is what this turn begins with
                talk.append(("user", question))
            seen[name].append(ask_and_check(routes, name, talk, stream))
            talk.append(CALL if turn == CALLING else ("assistant", seen[name][-1].text))
    assert all(answers == seen["chat"] for answers in seen.values()), seen
    for before, after in zip(seen["chat"], seen["chat"][1:]):
        assert after.cached >= before.prompt // BLOCK * BLOCK
        assert after.cached + after.written == after.prompt // BLOCK * BLOCK
