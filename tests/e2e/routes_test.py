"""Checks that one conversation has the same prompt, answer and cached tokens on all routes, and that what one
route has put into the cache is found by the others."""

import pytest

from conversation_routes import NAMES, Call, Routes, Tool
from daemon import Daemon

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 6
TURNS = ["What is prefixd?", "Why is that useful?", "And on a disk?"]
TOOL = Tool("read_block", "Reads a block.", {
    "type": "object", "required": ["tier"], "additionalProperties": False,
    "properties": {"tier": {"const": "device"}}})


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


def talk(daemon, salt, names, questions=TURNS):
    """A conversation whose turns go through the routes in order. Returns the answers."""
    routes, turns, answers = Routes(daemon, salt, RULES), [], []
    for question, name in zip(questions, names):
        turns.append(("user", question))
        answers.append(routes.ask(name, turns)[0])
        turns.append(("assistant", answers[-1].text))
    return answers


def test_a_conversation_is_the_same_on_all_routes(daemon):
    talks = {name: talk(daemon, f"alone {name}", [name] * 3) for name in NAMES}
    assert all(answers == talks["chat"] for answers in talks.values()), talks
    first, second, third = talks["chat"]
    assert first.cached == 0 and first.prompt > 4 * BLOCK
    assert second.cached >= first.prompt - BLOCK and third.cached >= second.prompt - BLOCK


@pytest.mark.parametrize("first", NAMES)
def test_a_conversation_that_changes_its_route_finds_its_prefix(daemon, first):
    alone = talk(daemon, f"again {first}", ["chat"] * 3)
    for other in NAMES:
        mixed = talk(daemon, f"{first} to {other}", [first, other, first])
        assert mixed == alone, (first, other)


def test_ten_turns_over_all_routes_find_all_that_came_before(daemon):
    questions = [f"{question} ({turn})" for turn in range(4) for question in TURNS][:10]
    alone = talk(daemon, "ten alone", ["chat"] * 10, questions)
    mixed = talk(daemon, "ten mixed", [NAMES[turn % 4] for turn in range(10)], questions)
    assert mixed == alone
    for before, after in zip(alone, alone[1:]):  # a hit is of equal ids, so the prompts have the same
        assert after.cached >= before.prompt - BLOCK, alone


@pytest.mark.parametrize("first", NAMES)
def test_calls_and_their_results_are_the_same_prompt(daemon, first):
    routes = Routes(daemon, f"calls after {first}", RULES, TOOL, length=8)
    said = [("user", TURNS[0]), Call(TOOL.name, {"tier": "device"}, "full")]
    answer = routes.ask(first, said)[0]
    assert answer.cached == 0
    for name in NAMES:
        other = routes.ask(name, said)[0]
        assert (other.text, other.prompt) == (answer.text, answer.prompt), name
        assert other.cached >= answer.prompt - BLOCK, name
