"""Sends one conversation through any route with the official clients, and reads what they say of the answer.
"""

import dataclasses
import json

import anthropic
import openai

NAMES = ["chat", "completions", "responses", "messages"]


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


FIGURES = {"chat": of_openai, "completions": of_openai, "responses": of_responses, "messages": of_messages}


@dataclasses.dataclass(frozen=True)
class Answer:
    text: str
    prompt: int
    cached: int
    written: int
    generated: int

    def __post_init__(self):
        assert self.cached + self.written <= self.prompt


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    description: str
    schema: dict


@dataclasses.dataclass(frozen=True)
class Call:
    """A turn of the assistant that says something and calls a tool, with the result."""
    name: str
    arguments: dict
    result: str
    says: str = "I look."
    id: str = "call_1"


class Routes:
    """`ask` sends a conversation, a list of (role, text) and of calls, and returns its Answer and the headers
    of the response. No tool is called in an answer. Templates show the members of a tool in their order, so
    that it is the same on all routes."""

    def __init__(self, daemon, salt, rules, tool=None, length=24):
        self.daemon, self.rules, self.tool, self.length = daemon, rules, tool, length
        self.body = {"cache_salt": salt, "temperature": 0}
        self.openai = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)

    def ask(self, name, talk, stream=False):
        raw, text, usages = getattr(self, f"_{name}")(talk, stream)
        generated = getattr(usages[-1], "output_tokens" if name in ("responses", "messages") else
                            "completion_tokens")
        return Answer(text, *FIGURES[name](usages[0]), generated), raw.headers

    def _tools(self, shape, none):
        return {"tools": [shape], "tool_choice": none} if self.tool else {}

    def chat_body(self, talk):
        messages = [{"role": "system", "content": self.rules}]
        for said in talk:
            if not isinstance(said, Call):
                messages.append(dict(zip(("role", "content"), said)))
                continue
            function = {"name": said.name, "arguments": json.dumps(said.arguments)}
            messages += [{"role": "assistant", "content": said.says, "tool_calls": [
                {"id": said.id, "type": "function", "function": function}]},
                         {"role": "tool", "tool_call_id": said.id, "content": said.result}]
        function = self.tool and {"name": self.tool.name, "description": self.tool.description,
                                  "parameters": self.tool.schema}
        return {"messages": messages, **self._tools({"type": "function", "function": function}, "none")}

    def _of_openai(self, create, stream, text_of, **fields):
        options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        raw = create(model="demo", max_tokens=self.length, extra_body=self.body, **fields, **options)
        answers = list(raw.parse()) if stream else [raw.parse()]
        text = "".join(text_of(choice) or "" for answer in answers for choice in answer.choices)
        return raw, text, [answers[-1].usage]

    def _chat(self, talk, stream):
        return self._of_openai(
            self.openai.chat.completions.with_raw_response.create, stream,
            lambda choice: (choice.delta if stream else choice.message).content, **self.chat_body(talk))

    def _completions(self, talk, stream):
        """The ids of the prompt that the chat template makes."""
        status, _, text = self.daemon.request("POST", "/tokenize", self.chat_body(talk))
        assert status == 200, text
        return self._of_openai(self.openai.completions.with_raw_response.create, stream,
                               lambda choice: choice.text, prompt=json.loads(text)["tokens"])

    def _responses(self, talk, stream):
        items = []
        for said in talk:
            if isinstance(said, Call):
                items += [{"role": "assistant", "content": said.says},
                          {"type": "function_call", "call_id": said.id, "name": said.name,
                           "arguments": json.dumps(said.arguments)},
                          {"type": "function_call_output", "call_id": said.id, "output": said.result}]
            else:
                items.append(dict(zip(("role", "content"), said)))
        tool = self.tool and {"type": "function", "name": self.tool.name,
                              "description": self.tool.description, "parameters": self.tool.schema}
        raw = self.openai.responses.with_raw_response.create(
            model="demo", instructions=self.rules, input=items, max_output_tokens=self.length, stream=stream,
            extra_body=self.body, **self._tools(tool, "none"))
        answer = list(raw.parse())[-1].response if stream else raw.parse()
        return raw, answer.output_text, [answer.usage]

    def _messages(self, talk, stream):
        messages = []
        for said in talk:
            if isinstance(said, Call):
                call = {"type": "tool_use", "id": said.id, "name": said.name, "input": said.arguments}
                result = {"type": "tool_result", "tool_use_id": said.id, "content": said.result}
                messages += [
                    {"role": "assistant", "content": [{"type": "text", "text": said.says}, call]},
                    {"role": "user", "content": [result]}]
            else:
                messages.append(dict(zip(("role", "content"), said)))
        tool = self.tool and {"name": self.tool.name, "description": self.tool.description,
                              "input_schema": self.tool.schema}
        raw = self.anthropic.messages.with_raw_response.create(
            model="demo", system=self.rules, messages=messages, max_tokens=self.length, stream=stream,
            extra_body=self.body, **self._tools(tool, {"type": "none"}))
        if not stream:
            answer = raw.parse()
            return raw, answer.content[0].text, [answer.usage]
        events = list(raw.parse())
        text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
        start, end = (next(event for event in events if event.type == kind)
                      for kind in ("message_start", "message_delta"))
        return raw, text, [start.message.usage, end.usage]


def counted(daemon):
    """Prompt tokens by source, and those that prompts have written, in the metrics."""
    samples = daemon.metrics()
    sources = {dict(labels)["source"]: value for (name, labels), value in samples.items()
               if name == "prefixd_prompt_tokens_total"}
    computed = sources.pop("computed")
    written = samples["prefixd_cache_write_tokens_total", (("part", "prompt"),)]
    return computed, sum(sources.values()), written


def ask_and_check(routes, name, talk, stream=False):
    """Returns the answer, whose figures equal the headers and what it adds to the metrics."""
    before = counted(routes.daemon)
    answer, headers = routes.ask(name, talk, stream)
    computed = answer.prompt - answer.cached
    assert int(headers["x-prefixd-cached-tokens"]) == answer.cached
    assert int(headers["x-prefixd-computed-tokens"]) == computed
    sources = dict(part.split("=") for part in headers["x-prefixd-cache-source"].split(","))
    assert sum(map(int, sources.values())) == answer.cached
    added = [after - number for number, after in zip(before, counted(routes.daemon))]
    assert added == [computed, answer.cached, answer.written]
    return answer
