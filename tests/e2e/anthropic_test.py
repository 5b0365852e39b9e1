"""Checks what clients of Anthropic's API rely on, with the official client and with plain HTTP.

The numbers in the names of the tests are rows of the conformance checklist.
"""

import asyncio
import json
import typing

import anthropic
import pydantic
import pytest

from daemon import Daemon

KEY = "sk-test"
USER = [{"role": "user", "content": "What is prefixd?"}]
GREEDY = {"temperature": 0}
RULES = "You answer questions about prefixd, a cache of prompts. " * 8
TOOLS = [{"name": "read_block", "description": "Reads a block of the cache.", "input_schema": {
    "type": "object", "required": ["tier", "number"], "additionalProperties": False,
    "properties": {"tier": {"type": "string", "enum": ["device", "host"]},
                   "number": {"type": "integer", "minimum": 0, "maximum": 99}}}}]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with Daemon("--api-keys", keys, "--max-body", "64KiB") as started:
        yield started


@pytest.fixture(scope="module")
def client(daemon):
    return anthropic.Anthropic(base_url=daemon.url, api_key=KEY, max_retries=0)


def fields(**more):
    extra = {**GREEDY, **more.pop("extra_body", {})}
    return {"model": "demo", "messages": USER, "max_tokens": 24, "extra_body": extra, **more}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def total(usage):
    return usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens


def raw(daemon, body, path="/v1/messages", headers=None):
    whole = {"model": "demo", "max_tokens": 24, **GREEDY, **body}
    status, answered, text = daemon.request("POST", path, whole, headers=headers or {"x-api-key": KEY})
    return status, {name.lower(): value for name, value in answered.items()}, text


def test_122_a_message_with_the_headers_of_old_and_new_clients(daemon, client):
    message = client.messages.create(**fields(max_tokens=60))
    assert message.type == "message" and message.role == "assistant" and message.model == "demo"
    assert message.id.startswith("msg_") and message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"] and message.content[0].citations is None
    for headers in ({"x-api-key": KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"},
                    {"Authorization": f"Bearer {KEY}", "anthropic-version": "2026-10-21"}):
        status, answered, text = raw(daemon, {"messages": USER, "max_tokens": 60},
                                     path="/v1/messages?beta=true", headers=headers)
        assert status == 200 and json.loads(text)["content"][0]["text"] == text_of(message)
        assert answered["request-id"] == answered["x-request-id"]


def test_123_the_helper_for_streams_gives_the_same_message(client):
    whole = client.messages.create(**fields(max_tokens=60))
    with client.messages.stream(**fields(max_tokens=60)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    # Pieces that wait for a busy thread leave as one.
    assert len(pieces) >= 1 and "".join(pieces) == text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert total(final.usage) == total(whole.usage)


def test_the_asynchronous_client(daemon):
    async def both():
        async with anthropic.AsyncAnthropic(base_url=daemon.url, api_key=KEY, max_retries=0) as client:
            whole = await client.messages.create(**fields())
            text = ""
            async with client.messages.stream(**fields()) as stream:
                async for piece in stream.text_stream:
                    text += piece
            return text_of(whole), text

    whole, streamed = asyncio.run(both())
    assert whole and whole == streamed


def test_124_every_event_has_a_name_and_its_place(daemon):
    status, headers, text = raw(daemon, {"messages": USER, "stream": True, "ignore_eos": True})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in text.removesuffix("\n\n").split("\n\n") if event[0] != ":"]
    assert all(len(lines) == 2 for lines in events)
    names = [lines[0].removeprefix("event: ") for lines in events]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert names == [each["type"] for each in data]
    deltas = names.count("content_block_delta")
    assert deltas > 0 and names == ["message_start", "content_block_start",
                                    *["content_block_delta"] * deltas, "content_block_stop",
                                    "message_delta", "message_stop"]
    assert data[0]["message"]["content"] == [] and data[1]["content_block"]["text"] == ""
    assert data[-2]["usage"]["output_tokens"] == 24 and data[-2]["delta"]["stop_reason"] == "max_tokens"


def test_125_a_tool_and_its_results(client):
    for choice in ({"type": "any"}, {"type": "tool", "name": "read_block"}):
        message = client.messages.create(**fields(max_tokens=200, tools=TOOLS, tool_choice=choice))
        assert message.stop_reason == "tool_use"
        call = message.content[-1]
        assert call.type == "tool_use" and call.name == "read_block"
        assert call.input["tier"] in ("device", "host") and 0 <= call.input["number"] <= 99
        for content in ("full", [{"type": "text", "text": "full"}]):
            for is_error in (False, True):
                result = {"type": "tool_result", "tool_use_id": call.id, "content": content,
                          "is_error": is_error}
                answer = client.messages.create(**fields(tools=TOOLS, messages=[
                    *USER, {"role": "assistant", "content": message.content},
                    {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]}]))
                assert answer.stop_reason in ("end_turn", "max_tokens", "tool_use")
    with client.messages.stream(**fields(max_tokens=200, tools=TOOLS, tool_choice=choice)) as stream:
        final = stream.get_final_message()
    assert final.content[-1].input == call.input and final.stop_reason == "tool_use"
    alone = client.messages.create(**fields(
        max_tokens=200, tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}))
    assert [block.type for block in alone.content].count("tool_use") == 1


def test_a_runner_of_tools_calls_them(client):
    called = []

    @anthropic.beta_tool
    def read_block(tier: typing.Literal["device", "host"]) -> str:
        """Reads a block.

        Args:
            tier: The tier of the cache.
        """
        called.append(tier)
        return "full"

    runner = client.beta.messages.tool_runner(
        model="demo", max_tokens=200, messages=USER, tools=[read_block], max_iterations=2,
        tool_choice={"type": "any"}, extra_body=GREEDY)
    messages = list(runner)
    assert len(messages) == 2 and called and messages[0].stop_reason == "tool_use"


def test_126_what_is_written_is_read_by_the_next(client):
    system = [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]
    first, second = [client.messages.create(**fields(system=system, extra_body={"cache_salt": "126"}))
                     for _ in range(2)]
    count = client.messages.count_tokens(model="demo", messages=USER, system=system).input_tokens
    assert total(first.usage) == total(second.usage) == count
    assert first.usage.cache_read_input_tokens == 0 and first.usage.cache_creation_input_tokens > 0
    assert second.usage.cache_read_input_tokens >= count - 16
    assert text_of(first) == text_of(second)


def test_127_markers_of_the_cache_are_checked(daemon):
    def block(**control):
        return {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", **control}}

    for blocks, words in (([block()] * 5, "at most 4"), ([block(), block(ttl="1h")], "before")):
        status, _, text = raw(daemon, {"messages": [{"role": "user", "content": blocks}]})
        assert status == 400 and words in json.loads(text)["error"]["message"]


def test_128_what_the_assistant_has_begun_is_continued(client):
    whole = text_of(client.messages.create(**fields(max_tokens=40)))
    begun = whole[:whole.index(" ", len(whole) // 2)]
    rest = text_of(client.messages.create(**fields(
        max_tokens=40, messages=[*USER, {"role": "assistant", "content": begun}])))
    assert begun and whole.startswith(begun) and not rest.startswith(begun)
    assert (begun + rest)[:len(whole)] == whole


def test_129_a_message_of_no_tokens_fills_the_cache(client):
    salt = {"cache_salt": "129"}
    empty = client.messages.create(**fields(max_tokens=0, system=RULES, extra_body=salt))
    assert empty.content == [] and empty.usage.cache_creation_input_tokens > 0
    assert empty.usage.output_tokens == 0
    after = client.messages.create(**fields(system=RULES, extra_body=salt))
    assert after.usage.cache_read_input_tokens >= total(empty.usage) - 16


def test_130_stop_sequences(client):
    whole = text_of(client.messages.create(**fields(max_tokens=40)))
    stop = whole.split()[3]
    message = client.messages.create(**fields(max_tokens=40, stop_sequences=["never", stop]))
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert text_of(message) == whole[:whole.index(stop)]


def test_131_errors_have_the_shape_of_the_api(daemon, client):
    wrong = anthropic.Anthropic(base_url=daemon.url, api_key="wrong", max_retries=0)
    for call, kind, name in (
            (lambda: wrong.messages.create(**fields()), anthropic.AuthenticationError,
             "authentication_error"),
            (lambda: client.messages.create(**{**fields(), "model": "other"}), anthropic.NotFoundError,
             "not_found_error"),
            (lambda: client.messages.create(**fields(messages=[])), anthropic.BadRequestError,
             "invalid_request_error"),
            (lambda: client.messages.create(**fields(messages=[{"role": "user", "content": "a " * 50000}])),
             anthropic.APIStatusError, "request_too_large")):
        with pytest.raises(kind) as error:
            call()
        body = error.value.body
        assert body["type"] == "error" and body["error"]["type"] == name and body["error"]["message"]
        assert body["request_id"] == error.value.request_id == error.value.response.headers["request-id"]


def test_errors_before_a_handler_have_the_shape_of_their_route(daemon):
    def answer(method, path, text, **headers):
        connection = daemon.connect()
        connection.request(method, path, text, {"x-api-key": KEY, **headers})
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        return response.status, body

    for method, path, text, headers, status in (
            ("POST", "/v1/messages", "{", {}, 400), ("GET", "/v1/messages", None, {}, 405),
            ("POST", "/v1/messages/batches", "{}", {}, 404),
            ("POST", "/v1/messages", "{}", {"Content-Type": "text/plain"}, 415),
            ("POST", "/v1/messages", "{}", {"x-api-key": "no"}, 401),
            ("POST", "/v1/messages", "{}", {"Content-Encoding": "gzip"}, 415),
            ("POST", "/v1/messages", "a" * 100000, {}, 413)):
        found, body = answer(method, path, text, **headers)
        assert found == status and body["type"] == "error" and body["error"]["message"], (path, body)
        other, body = answer(method, path.replace("messages", "completions"), text, **headers)
        assert other == status and set(body) == {"error"} and "code" in body["error"], (path, body)


def test_132_a_header_that_changes_with_every_request_is_left_out(client):
    def ask(number):
        system = [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2; cch={number:05x};"},
                  {"type": "text", "text": RULES}]
        return client.messages.create(**fields(system=system, extra_body={"cache_salt": "132"}))

    first, second = ask(1), ask(2)
    assert first.usage.cache_read_input_tokens == 0
    assert second.usage.cache_read_input_tokens >= 0.95 * total(second.usage)


def test_133_counting_takes_no_work_of_the_model(daemon, client):
    def computed():
        return sum(value for (name, _), value in daemon.metrics().items()
                   if name == "vllm:prompt_tokens_total")

    before = computed()
    body = {"model": "demo", "messages": USER, "system": RULES, "tools": TOOLS}
    count = client.messages.count_tokens(**body).input_tokens
    assert count > 0 and computed() == before
    assert total(client.messages.create(**{**fields(), **body}).usage) == count


class Block(pydantic.BaseModel):
    tier: typing.Literal["device", "host"]
    number: int


def test_an_answer_of_a_schema(client):
    message = client.messages.parse(**fields(max_tokens=200), output_format=Block)
    assert isinstance(message.parsed_output, Block)
    schema = {"type": "object", "required": ["tier"], "additionalProperties": False,
              "properties": {"tier": {"enum": ["device", "host"]}}}
    message = client.messages.create(**fields(
        max_tokens=200, output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert json.loads(text_of(message))["tier"] in ("device", "host")


def test_an_answer_that_the_context_cuts_says_so():
    with Daemon("--context", 64) as daemon:
        client = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)
        message = client.messages.create(**fields(max_tokens=1000, extra_body={"ignore_eos": True}))
        assert message.stop_reason == "model_context_window_exceeded"
        assert total(message.usage) + message.usage.output_tokens == 64
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long: [0-9]+ tokens > 64 maximum"):
            client.messages.create(**fields(messages=[{"role": "user", "content": "a b c d " * 40}]))
