"""Checks with the official clients the fields that say something of the cache, on every route that has them:
keys of conversations, modes, lifetimes, marks, reuse of ids, explanations, and diagnostics, also in streams.
"""

import anthropic
import openai
import pytest

from conversation_routes import FIGURES, NAMES
from daemon import Daemon
from retention_test import PREWARMS

BLOCK = 16
CHATS = ["chat", "responses", "messages"]


@pytest.fixture(scope="module")
def clients():
    with Daemon("--block-tokens", BLOCK) as daemon:
        yield (openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0),
               anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0))


def send(clients, name, text, **fields):
    """Returns the answer of a route. What the client has no parameter for goes into the body as it is."""
    length = {"max_output_tokens" if name == "responses" else "max_tokens": 2}
    return PREWARMS[name](*clients, text, **length, extra_body={"temperature": 0, **fields})


def figures(name, answer):
    """The tokens of the prompt, those that were cached, and those that were written."""
    return FIGURES[name](answer.usage)


def explain(clients, name, answer):
    client, path = (clients[1], "/v1/cache/explain") if name == "messages" else (clients[0], "/cache/explain")
    return client.get(path, cast_to=object, options={"params": {"response_id": answer.id}})


@pytest.mark.parametrize("name", NAMES)
def test_an_explanation_has_the_figures_of_the_answer_and_of_its_key(clients, name):
    text, sums = f"A conversation of {name} that has a key. " * 4, [0, 0]
    for count in (1, 2, 3):
        answer = send(clients, name, text + f"{count}?", prompt_cache_key=f"key of {name}")
        prompt, cached, _ = figures(name, answer)
        sums = [sums[0] + prompt, sums[1] + cached]
        told = explain(clients, name, answer)
        assert (told["response_id"], told["prompt_tokens"], told["cached_tokens"]) == (
            answer.id, prompt, cached)
        assert told["prompt_cache_key"] == {
            "requests": count, "prompt_tokens": sums[0], "cached_tokens": sums[1]}
    assert sums[1] > 2 * BLOCK
    other = send(clients, name, text)
    assert "prompt_cache_key" not in explain(clients, name, other)
    assert figures(name, other)[1] > 2 * BLOCK, "a key keeps nothing apart"


def test_an_unknown_response_is_an_error_of_each_client(clients):
    for client, path, error in ((clients[0], "/cache/explain", openai.NotFoundError),
                                (clients[1], "/v1/cache/explain", anthropic.NotFoundError)):
        with pytest.raises(error, match="no recent request"):
            client.get(path, cast_to=object, options={"params": {"response_id": "unknown"}})


@pytest.mark.parametrize("name", NAMES)
def test_in_the_mode_explicit_a_prompt_without_marks_is_neither_read_nor_written(clients, name):
    text = f"Nothing of this text of {name} enters the cache. " * 4
    for mode, cached, written in (("explicit", False, False), ("implicit", False, True),
                                  ("explicit", False, False), ("implicit", True, False)):
        _, read, wrote = figures(name, send(clients, name, text, prompt_cache_options={"mode": mode}))
        assert (read > BLOCK, wrote > BLOCK) == (cached, written), mode
        assert mode == "implicit" or read == wrote == 0


def written_for(name, answer):
    """The tokens that were written, for the short and for the long lifetime of the API. OpenAI's have none
    where nothing is to be kept."""
    if name == "messages":
        parts = answer.usage.cache_creation
        return parts.ephemeral_5m_input_tokens, parts.ephemeral_1h_input_tokens
    details = (answer.usage.input_tokens_details if name == "responses" else
               answer.usage.prompt_tokens_details)
    details = getattr(details, "cache_write_tokens_details", None)
    if details is None:
        return None
    parts = details if isinstance(details, dict) else details.model_dump()
    return parts["ttl_30m_tokens"], parts["ttl_12h_tokens"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fields, kept, long", [
    ({}, False, False), ({"prompt_cache_options": {"ttl": "5m"}}, True, False),
    ({"prompt_cache_options": {"ttl": "12h"}}, True, True), ({"prompt_cache_retention": "24h"}, True, True),
    ({"prompt_cache_retention": "in_memory"}, False, False)], ids=["none", "5m", "12h", "24h", "in_memory"])
def test_what_is_written_is_told_by_lifetime(clients, name, fields, kept, long):
    answer = send(clients, name, f"This text of {name} is kept for {fields}. " * 4, **fields)
    written = figures(name, answer)[2]
    assert written >= 2 * BLOCK
    if kept or name == "messages":
        assert written_for(name, answer) == ((0, written) if long else (written, 0))
    else:
        assert written_for(name, answer) is None


def marked(text, **control):
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", **control}}


def test_four_marks_of_tools_system_and_messages_have_a_lifetime_each(clients):
    """A mark of an hour is before those of five minutes, and what is before it is kept for an hour."""
    def send_marked(question):
        return clients[1].messages.create(
            model="demo", max_tokens=2, tool_choice={"type": "none"},
            tools=[{"name": "read_tier", "description": "Reads a tier of the cache. " * 4,
                    "input_schema": {"type": "object", "properties": {}},
                    "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            system=[marked("You answer questions about four marks. " * 4, ttl="1h")],
            messages=[{"role": "user", "content": [
                marked("The first document is about blocks. " * 4), marked("The second is of tiers. " * 4),
                {"type": "text", "text": question}]}]).usage
    first = send_marked("Which one?")
    minutes, hour = (getattr(first.cache_creation, f"ephemeral_{ttl}_input_tokens") for ttl in ("5m", "1h"))
    assert hour >= 4 * BLOCK and minutes >= 2 * BLOCK
    kept = first.cache_retained_input_tokens
    assert kept >= hour + minutes - BLOCK
    assert send_marked("Why is that so?").cache_read_input_tokens >= kept, "to the end of the last mark"


def test_a_chat_may_have_the_marks_of_either_api(clients):
    for number, mark in enumerate(({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
                                   {"cache_control": {"type": "ephemeral", "ttl": "12h"}})):
        text = f"Mark {number} ends this part, within a block. " * 4
        answer = clients[0].chat.completions.create(model="demo", max_tokens=2, messages=[
            {"role": "user", "content": [{"type": "text", "text": text, **mark},
                                         {"type": "text", "text": "What is it?"}]}],
            extra_body={"prompt_cache_options": {"mode": "explicit"}})
        details = answer.usage.prompt_tokens_details
        assert 2 * BLOCK < details.retained_tokens < answer.usage.prompt_tokens
        assert details.cache_write_tokens <= details.retained_tokens, "nothing behind the mark"
        assert written_for("chat", answer) == (0, details.cache_write_tokens)


def test_a_response_repeats_what_it_was_asked_of_the_cache(clients):
    answer = clients[0].responses.create(
        model="demo", input="Why?", max_output_tokens=2, prompt_cache_key="a key",
        prompt_cache_retention="24h", prompt_cache_options={"mode": "explicit", "ttl": "12h"})
    assert (answer.prompt_cache_key, answer.prompt_cache_retention) == ("a key", "24h")
    options = answer.prompt_cache_options
    assert (options.mode, options.ttl) == ("explicit", "12h")
    for retention, ttl in (None, "30m"), ("24h", "24h"):
        plain = clients[0].responses.create(model="demo", input="Why?", max_output_tokens=2,
                                            prompt_cache_retention=retention,
                                            prompt_cache_options={"mode": "implicit"})
        assert (plain.prompt_cache_options.mode, plain.prompt_cache_options.ttl) == ("implicit", ttl)
        assert plain.prompt_cache_retention == retention


RULES, CHANGED = "You answer in few words. " * 8, "You answer in many words. " * 8


def response(clients, instructions, compared, stream):
    options = {"comparison_response_id": compared} if compared else {}
    answer = clients[0].responses.create(
        model="demo", instructions=instructions, input="Why?", max_output_tokens=2, stream=stream,
        extra_body={"prompt_cache_options": options})
    return list(answer)[-1].response if stream else answer


@pytest.mark.parametrize("stream", [False, True])
def test_diagnostics_of_responses(clients, stream):
    first = response(clients, RULES, None, stream)
    assert first.prompt_cache_diagnostics is None
    assert response(clients, RULES, first.id, stream).prompt_cache_diagnostics.type == "cache_hit"
    missed = response(clients, CHANGED, first.id, stream)
    diagnostics = missed.prompt_cache_diagnostics
    assert (diagnostics.type, diagnostics.reason) == ("cache_miss", "input_changed")
    usage = missed.usage
    assert diagnostics.cache_missed_tokens == usage.input_tokens - usage.input_tokens_details.cached_tokens
    assert 0 < diagnostics.comparison_reusable_tokens < usage.input_tokens
    assert diagnostics.prefixd == explain(clients, "responses", missed)
    comparison = diagnostics.prefixd["comparison"]
    assert (comparison["message"], comparison["character"]) == (0, len("You answer in "))
    unknown = response(clients, RULES, "resp_unknown", stream)
    assert unknown.prompt_cache_diagnostics.type == "comparison_response_not_found"


def message(clients, system, diagnostics, stream):
    answer = clients[1].messages.create(
        model="demo", system=system, messages=[{"role": "user", "content": "Why?"}], max_tokens=2,
        stream=stream, diagnostics=diagnostics)
    if not stream:
        return answer
    return next(event.message for event in list(answer) if event.type == "message_start")


@pytest.mark.parametrize("stream", [False, True])
def test_diagnostics_of_messages(clients, stream):
    first = message(clients, RULES, {"previous_message_id": None}, stream)
    assert first.diagnostics.cache_miss_reason is None
    assert message(clients, RULES, None, stream).diagnostics is None
    compared = {"previous_message_id": first.id}
    assert message(clients, RULES, compared, stream).diagnostics.cache_miss_reason is None
    missed = message(clients, CHANGED, compared, stream)
    reason, usage = missed.diagnostics.cache_miss_reason, missed.usage
    assert reason.type == "system_changed"
    assert reason.cache_missed_input_tokens == usage.input_tokens + usage.cache_creation_input_tokens
    assert reason.prefixd == explain(clients, "messages", missed)
    unknown = message(clients, RULES, {"previous_message_id": "msg_unknown"}, stream)
    assert unknown.diagnostics.cache_miss_reason.type == "previous_message_not_found"


class Talk:
    """A conversation of odd answers through a route. `say` returns how many of the tokens that have KV were
    found: all of the turn before but the last token of its answer."""

    ODD = {"temperature": 1, "min_tokens": 20, "repetition_penalty": 2}

    def __init__(self, clients, name, **fields):
        self.clients, self.name, self.turns, self.previous = clients, name, [], {}
        self.before, self.fields = 0, {**self.ODD, **fields}

    def say(self, question, seed):
        self.turns.append({"role": "user", "content": question})
        text, answer = getattr(self, f"_{self.name}")({**self.fields, "seed": seed})
        self.turns.append({"role": "assistant", "content": text})
        prompt, cached, _ = figures(self.name.removesuffix("_stored"), answer)
        usage, found = answer.usage, cached - self.before // BLOCK * BLOCK
        answered = usage.completion_tokens if self.name == "chat" else usage.output_tokens
        self.before = prompt + answered - 1
        return found

    def _chat(self, body):
        answer = self.clients[0].chat.completions.create(model="demo", messages=self.turns, max_tokens=24,
                                                         extra_body=body)
        return answer.choices[0].message.content, answer

    def _responses(self, body):
        answer = self.clients[0].responses.create(model="demo", input=self.turns, max_output_tokens=24,
                                                  extra_body=body)
        return answer.output_text, answer

    def _responses_stored(self, body):
        answer = self.clients[0].responses.create(model="demo", input=self.turns[-1:], max_output_tokens=24,
                                                  extra_body=body, **self.previous)
        self.previous = {"previous_response_id": answer.id}
        return answer.output_text, answer

    def _messages(self, body):
        answer = self.clients[1].messages.create(model="demo", messages=self.turns, max_tokens=24,
                                                 extra_body=body)
        return answer.content[0].text, answer


@pytest.mark.parametrize("name", [*CHATS, "responses_stored"])
def test_an_answer_that_is_sent_back_keeps_its_ids_on_request(clients, name):
    found = {}
    for reuse in (False, True):
        talk = Talk(clients, name, cache_salt=f"{name} {reuse}", reuse_generated_ids=reuse)
        found[reuse] = [talk.say(f"And {turn}?", turn) for turn in range(10)]
    assert all(tokens >= 0 for tokens in found[True]), found
    assert any(tokens < 0 for tokens in found[False]), found
