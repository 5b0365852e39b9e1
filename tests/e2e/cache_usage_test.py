"""Checks that the figures of the cache are one set: each API spells them in its own way, streamed or not, and
they equal the headers and what the request adds to the metrics."""

import json

import anthropic
import openai
import pytest

from daemon import Daemon

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 6
TURNS = [("user", "What is prefixd?"), ("assistant", "A cache."), ("user", "Why is that useful?")]


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


def of_openai(usage):
    """The figures of chat and completions: prompt, cached, written."""
    assert usage.prompt_cache_hit_tokens == usage.prompt_tokens_details.cached_tokens
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    details = usage.prompt_tokens_details
    return usage.prompt_tokens, details.cached_tokens, details.cache_write_tokens


def of_responses(usage):
    details = usage.input_tokens_details
    return usage.input_tokens, details.cached_tokens, details.cache_write_tokens


def of_messages(usage):
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    parts = usage.cache_creation
    assert parts.ephemeral_5m_input_tokens + parts.ephemeral_1h_input_tokens == written
    return usage.input_tokens + read + written, read, written


class Routes:
    """Each route, streamed or not. A call returns (headers, figures)."""

    def __init__(self, daemon, salt):
        self.daemon, self.body = daemon, {"cache_salt": salt, "temperature": 0}
        self.openai = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)
        self.turns = [{"role": role, "content": text} for role, text in TURNS]

    def _openai(self, create, stream, **fields):
        extra = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        raw = create(model="demo", max_tokens=4, extra_body=self.body, **fields, **extra)
        usage = [chunk.usage for chunk in raw.parse()][-1] if stream else raw.parse().usage
        return raw.headers, of_openai(usage)

    def chat(self, stream):
        return self._openai(self.openai.chat.completions.with_raw_response.create, stream,
                            messages=[{"role": "system", "content": RULES}, *self.turns])

    def completions(self, stream):
        messages = [{"role": "system", "content": RULES}, *self.turns]
        tokens = self.daemon.request("POST", "/tokenize", {"messages": messages})[2]
        return self._openai(self.openai.completions.with_raw_response.create, stream,
                            prompt=json.loads(tokens)["tokens"])

    def responses(self, stream):
        raw = self.openai.responses.with_raw_response.create(
            model="demo", instructions=RULES, input=self.turns, max_output_tokens=4, stream=stream,
            extra_body=self.body)
        answer = [event for event in raw.parse()][-1].response if stream else raw.parse()
        return raw.headers, of_responses(answer.usage)

    def messages(self, stream):
        raw = self.anthropic.messages.with_raw_response.create(
            model="demo", system=RULES, messages=self.turns, max_tokens=4, stream=stream,
            extra_body=self.body)
        if not stream:
            return raw.headers, of_messages(raw.parse().usage)
        starts = [event for event in raw.parse() if event.type == "message_start"]
        return raw.headers, of_messages(starts[0].message.usage)


def counted(daemon):
    """Prompt tokens by source, and those that prompts have written, in the metrics."""
    samples = daemon.metrics()
    sources = {dict(labels)["source"]: value for (name, labels), value in samples.items()
               if name == "prefixd_prompt_tokens_total"}
    computed = sources.pop("computed")
    written = samples["prefixd_cache_write_tokens_total", (("part", "prompt"),)]
    return computed, sum(sources.values()), written


NAMES = ["chat", "completions", "responses", "messages"]


@pytest.mark.parametrize("stream", [False, True])
def test_each_api_spells_the_same_figures(daemon, stream):
    seen = {}
    for name in NAMES:
        call = getattr(Routes(daemon, f"{name} {stream}"), name)
        seen[name] = []
        for _ in range(2):
            before = counted(daemon)
            headers, (prompt, cached, written) = call(stream)
            computed = prompt - cached
            assert int(headers["x-prefixd-cached-tokens"]) == cached
            assert int(headers["x-prefixd-computed-tokens"]) == computed
            assert [b - a for a, b in zip(before, counted(daemon))] == [computed, cached, written]
            seen[name].append((prompt, cached, written))
    assert all(figures == seen["chat"] for figures in seen.values()), seen
    (prompt, *first), (_, *second) = seen["chat"]
    assert first == [0, prompt // BLOCK * BLOCK] and second == [prompt // BLOCK * BLOCK, 0]
