"""Checks that one conversation has the same prompt, answer and cached tokens on all routes, and that what one
route has put into the cache is found by the others."""

import json

import anthropic
import openai
import pytest

from daemon import Daemon

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 6
TURNS = ["What is prefixd?", "Why is that useful?", "And on a disk?"]
TOOL = {"name": "read_block", "description": "Reads a block.",
        "schema": {"type": "object", "required": ["tier"], "additionalProperties": False,
                   "properties": {"tier": {"const": "device"}}}}
LENGTH = 24


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


class Answer:
    """What a route says of a turn: the text or the call, and the counts of the prompt."""

    def __init__(self, text, prompt, cached, written, generated):
        self.text, self.prompt, self.cached, self.generated = text, prompt, cached, generated
        assert cached + written <= prompt

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return repr(vars(self))


class Routes:
    """Sends a conversation, a list of (role, text), through each route."""

    def __init__(self, daemon, salt):
        self.daemon, self.body = daemon, {"cache_salt": salt, "temperature": 0}
        self.openai = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)

    def chat_messages(self, turns):
        return [{"role": "system", "content": RULES},
                *({"role": role, "content": text} for role, text in turns)]

    @staticmethod
    def _of_openai(text, usage):
        details = usage.prompt_tokens_details
        return Answer(text, usage.prompt_tokens, details.cached_tokens, details.cache_write_tokens,
                      usage.completion_tokens)

    def chat(self, turns):
        answer = self.openai.chat.completions.create(
            model="demo", messages=self.chat_messages(turns), max_tokens=LENGTH, extra_body=self.body)
        return self._of_openai(answer.choices[0].message.content, answer.usage)

    def completions(self, turns):
        """The prompt that the chat template makes, as text."""
        prompt = json.loads(self.daemon.request("POST", "/apply-template",
                                                {"messages": self.chat_messages(turns)})[2])["prompt"]
        ids = json.loads(self.daemon.request("POST", "/tokenize", {"content": prompt})[2])["tokens"]
        answer = self.openai.completions.create(model="demo", prompt=ids, max_tokens=LENGTH,
                                                extra_body=self.body)
        return self._of_openai(answer.choices[0].text, answer.usage)

    def responses(self, turns):
        answer = self.openai.responses.create(
            model="demo", instructions=RULES, input=[{"role": role, "content": text} for role, text in turns],
            max_output_tokens=LENGTH, extra_body=self.body)
        details = answer.usage.input_tokens_details
        return Answer(answer.output_text, answer.usage.input_tokens, details.cached_tokens,
                      details.cache_write_tokens, answer.usage.output_tokens)

    def messages(self, turns):
        answer = self.anthropic.messages.create(
            model="demo", system=RULES, messages=[{"role": role, "content": text} for role, text in turns],
            max_tokens=LENGTH, extra_body=self.body)
        usage = answer.usage
        prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        return Answer(answer.content[0].text, prompt, usage.cache_read_input_tokens,
                      usage.cache_creation_input_tokens, usage.output_tokens)


NAMES = ["chat", "completions", "responses", "messages"]


def talk(routes, names, questions=TURNS):
    """A conversation whose turns go through the routes in order. Returns the answers."""
    turns, answers = [], []
    for question, name in zip(questions, names):
        turns.append(("user", question))
        answers.append(getattr(routes, name)(turns))
        turns.append(("assistant", answers[-1].text))
    return answers


def test_a_conversation_is_the_same_on_all_routes(daemon):
    talks = {name: talk(Routes(daemon, f"alone {name}"), [name] * 3) for name in NAMES}
    assert all(answers == talks["chat"] for answers in talks.values()), talks
    first, second, third = talks["chat"]
    assert first.cached == 0 and first.prompt > 4 * BLOCK
    assert second.cached >= first.prompt - BLOCK and third.cached >= second.prompt - BLOCK


@pytest.mark.parametrize("first", NAMES)
def test_a_conversation_that_changes_its_route_finds_its_prefix(daemon, first):
    alone = talk(Routes(daemon, f"again {first}"), ["chat"] * 3)
    for other in NAMES:
        mixed = talk(Routes(daemon, f"{first} to {other}"), [first, other, first])
        assert mixed == alone, (first, other)


def test_ten_turns_over_all_routes_find_all_that_came_before(daemon):
    questions = [f"{question} ({turn})" for turn in range(4) for question in TURNS][:10]
    alone = talk(Routes(daemon, "ten alone"), ["chat"] * 10, questions)
    mixed = talk(Routes(daemon, "ten mixed"), [NAMES[turn % 4] for turn in range(10)], questions)
    assert mixed == alone
    for before, after in zip(alone, alone[1:]):  # a hit is of equal ids, so the prompts have the same
        assert after.cached >= before.prompt - BLOCK, alone


def test_calls_and_their_results_are_the_same_prompt(daemon):
    salt = {"cache_salt": "calls", "temperature": 0}
    routes = Routes(daemon, "calls")
    function = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["schema"]}
    user = {"role": "user", "content": TURNS[0]}
    arguments = {"tier": "device"}
    chat = routes.openai.chat.completions.create(
        model="demo", max_tokens=8, extra_body=salt, tools=[{"type": "function", "function": function}],
        messages=[user, {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": TOOL["name"], "arguments": '{"tier":"device"}'}}]},
                  {"role": "tool", "tool_call_id": "call_1", "content": "full"}])
    prompt = chat.usage.prompt_tokens
    assert chat.usage.prompt_tokens_details.cached_tokens == 0
    items = routes.openai.responses.create(
        model="demo", max_output_tokens=8, extra_body=salt, tools=[{"type": "function", **function}],
        input=[user, {"role": "assistant", "content": "I look."},
               {"type": "function_call", "call_id": "call_1", "name": TOOL["name"],
                "arguments": '{"tier":"device"}'},
               {"type": "function_call_output", "call_id": "call_1", "output": "full"}])
    blocks = routes.anthropic.messages.create(
        model="demo", max_tokens=8, extra_body=salt,
        tools=[{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["schema"]}],
        messages=[user, {"role": "assistant", "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "call_1", "name": TOOL["name"], "input": arguments}]},
                  {"role": "user", "content": [
                      {"type": "tool_result", "tool_use_id": "call_1", "content": "full"}]}])
    assert items.usage.input_tokens == prompt
    assert items.usage.input_tokens_details.cached_tokens >= prompt - BLOCK
    usage = blocks.usage
    assert usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens == prompt
    assert usage.cache_read_input_tokens >= prompt - BLOCK
