"""Checks with the official clients that a conversation of six turns with a call of a tool has the same
figures of the cache through every route, turn by turn, and that they equal the headers and the metrics."""

import json

import anthropic
import openai
import pytest

from cache_usage_test import counted, of_messages, of_openai, of_responses
from daemon import Daemon

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 4
QUESTIONS = ["What is prefixd?", "Why is that useful?", "Which tier is full?", "And on a disk?", "How long?",
             "What is left?"]
CALLING = 2  # the turn whose answer is the call
CALL = {"id": "call_1", "name": "read_tier", "arguments": {"tier": "device"}, "result": "It is full."}
SCHEMA = {"type": "object", "required": ["tier"], "properties": {"tier": {"type": "string"}}}
LENGTH = 6


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


class Route:
    """Sends a conversation: a list of (role, text), and of CALL, which stands for a call with its result.
    `ask` returns (text, headers, figures)."""

    def __init__(self, daemon, salt):
        self.daemon, self.extra = daemon, {"cache_salt": salt, "temperature": 0}
        self.openai = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)


def chat_body(talk):
    messages = [{"role": "system", "content": RULES}]
    for said in talk:
        if said is CALL:
            messages += [
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": CALL["id"], "type": "function", "function": {
                        "name": CALL["name"], "arguments": json.dumps(CALL["arguments"])}}]},
                {"role": "tool", "tool_call_id": CALL["id"], "content": CALL["result"]}]
        else:
            messages.append(dict(zip(("role", "content"), said)))
    return {"messages": messages, "tools": [
        {"type": "function", "function": {"name": CALL["name"], "parameters": SCHEMA}}]}


class Chat(Route):
    def ask(self, talk):
        raw = self.openai.chat.completions.with_raw_response.create(
            model="demo", max_tokens=LENGTH, tool_choice="none", extra_body=self.extra, **chat_body(talk))
        answer = raw.parse()
        return answer.choices[0].message.content, raw.headers, of_openai(answer.usage)


class Completions(Route):
    """The ids of the prompt that the chat template makes."""

    def ask(self, talk):
        status, _, text = self.daemon.request("POST", "/tokenize", {**chat_body(talk), "tool_choice": "none"})
        assert status == 200, text
        raw = self.openai.completions.with_raw_response.create(
            model="demo", prompt=json.loads(text)["tokens"], max_tokens=LENGTH, extra_body=self.extra)
        answer = raw.parse()
        return answer.choices[0].text, raw.headers, of_openai(answer.usage)


class Responses(Route):
    def ask(self, talk):
        items = []
        for said in talk:
            if said is CALL:
                items += [{"role": "assistant", "content": "I look."},
                          {"type": "function_call", "call_id": CALL["id"], "name": CALL["name"],
                           "arguments": json.dumps(CALL["arguments"])},
                          {"type": "function_call_output", "call_id": CALL["id"], "output": CALL["result"]}]
            else:
                items.append(dict(zip(("role", "content"), said)))
        raw = self.openai.responses.with_raw_response.create(
            model="demo", instructions=RULES, input=items, max_output_tokens=LENGTH, tool_choice="none",
            tools=[{"type": "function", "name": CALL["name"], "parameters": SCHEMA}], extra_body=self.extra)
        answer = raw.parse()
        return answer.output_text, raw.headers, of_responses(answer.usage)


class Messages(Route):
    def ask(self, talk):
        messages = []
        for said in talk:
            if said is CALL:
                messages += [
                    {"role": "assistant", "content": [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": CALL["id"], "name": CALL["name"],
                         "input": CALL["arguments"]}]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": CALL["id"], "content": CALL["result"]}]}]
            else:
                messages.append(dict(zip(("role", "content"), said)))
        raw = self.anthropic.messages.with_raw_response.create(
            model="demo", system=RULES, messages=messages, max_tokens=LENGTH, tool_choice={"type": "none"},
            tools=[{"name": CALL["name"], "input_schema": SCHEMA}], extra_body=self.extra)
        answer = raw.parse()
        return answer.content[0].text, raw.headers, of_messages(answer.usage)


def check_headers_and_metrics(daemon, before, headers, figures):
    prompt, cached, written = figures
    assert int(headers["x-prefixd-cached-tokens"]) == cached
    assert int(headers["x-prefixd-computed-tokens"]) == prompt - cached
    sources = dict(part.split("=") for part in headers["x-prefixd-cache-source"].split(","))
    assert sum(map(int, sources.values())) == cached
    assert [b - a for a, b in zip(before, counted(daemon))] == [prompt - cached, cached, written]


def test_six_turns_with_a_call_have_the_same_figures_through_every_route(daemon):
    seen = {}
    for kind in (Chat, Completions, Responses, Messages):
        route, talk, turns = kind(daemon, kind.__name__), [], []
        for turn, question in enumerate(QUESTIONS):
            if turn != CALLING + 1:  # a result of a tool is what this turn begins with
                talk.append(("user", question))
            before = counted(daemon)
            text, headers, figures = route.ask(talk)
            check_headers_and_metrics(daemon, before, headers, figures)
            turns.append((text, *figures))
            talk.append(CALL if turn == CALLING else ("assistant", text))
        seen[kind.__name__] = turns
    assert all(turns == seen["Chat"] for turns in seen.values()), seen
    for (_, before, *_), (_, prompt, cached, written) in zip(seen["Chat"], seen["Chat"][1:]):
        assert cached >= before // BLOCK * BLOCK and cached + written == prompt // BLOCK * BLOCK
