"""Checks what clients of the Responses API rely on, with the official client and with plain HTTP.

The numbers in the names of the tests are rows of the conformance checklist.
"""

import asyncio
import json
import typing

import openai
import pydantic
import pytest

from daemon import Daemon

KEYS = ["sk-test", "sk-other"]
QUESTION = "What is prefixd?"
GREEDY = {"temperature": 0}
FUNCTION = {"type": "function", "name": "read_block", "description": "Reads a block.", "strict": False,
            "parameters": {"type": "object", "required": ["tier"], "additionalProperties": False,
                           "properties": {"tier": {"type": "string", "enum": ["device", "host"]}}}}
# What clients send beside their functions.
HOSTED = [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": []}, {"type": "local_shell"},
          {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}}]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("\n".join(KEYS) + "\n")
    with Daemon("--api-keys", keys) as started:
        yield started


@pytest.fixture(scope="module")
def client(daemon):
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=KEYS[0], max_retries=0)


def fields(**more):
    return {"model": "demo", "input": QUESTION, **GREEDY, "max_output_tokens": 60, **more}


def test_112_a_response(client):
    response = client.responses.create(**fields(metadata={"a": "b"}, instructions="Be brief."))
    assert response.id.startswith("resp_") and response.object == "response"
    assert response.output_text and response.status == "completed" and response.error is None
    assert response.metadata == {"a": "b"} and response.instructions == "Be brief."
    assert response.temperature == 0 and response.max_output_tokens == 60 and response.tools == []
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    details = usage.input_tokens_details
    assert details.cached_tokens + details.cache_write_tokens <= usage.input_tokens
    (item,) = response.output
    assert item.type == "message" and item.role == "assistant" and item.status == "completed"
    assert item.content[0].type == "output_text" and item.content[0].annotations == []


def test_113_the_events_of_a_stream(client):
    whole = client.responses.create(**fields())
    events = list(client.responses.create(**fields(stream=True)))
    types = [event.type for event in events]
    deltas = types.count("response.output_text.delta")
    # Deltas that wait for a busy thread leave as one.
    assert deltas >= 1 and types == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", *["response.output_text.delta"] * deltas, "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].response.status == "in_progress" and events[0].response.output == []
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1].response
    assert text == last.output_text == whole.output_text and last.id == events[0].response.id
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {last.output[0].id}
    assert last.usage.output_tokens == whole.usage.output_tokens


def test_the_helper_for_streams_and_the_asynchronous_client(daemon, client):
    with client.responses.stream(**fields(tools=[FUNCTION], tool_choice="required")) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    call = final.output[0]
    assert call.type == "function_call" and json.loads(call.arguments)["tier"] in ("device", "host")

    async def ask():
        async with openai.AsyncOpenAI(base_url=daemon.url + "/v1", api_key=KEYS[0], max_retries=0) as other:
            return (await other.responses.create(**fields())).output_text

    assert asyncio.run(ask()) == client.responses.create(**fields()).output_text


def test_114_a_function_and_its_output(client):
    response = client.responses.create(**fields(tools=[FUNCTION], tool_choice="required"))
    call = response.output[0]
    assert call.type == "function_call" and call.call_id.startswith("call_") and call.id != call.call_id
    for output in ("full", [{"type": "input_text", "text": "full"}]):
        items = [{"role": "user", "content": QUESTION}, *(item.to_dict() for item in response.output),
                 {"type": "function_call_output", "call_id": call.call_id, "output": output}]
        answer = client.responses.create(**fields(input=items, tools=[FUNCTION]))
        assert answer.output_text
    named = client.responses.create(**fields(
        tools=[FUNCTION], tool_choice={"type": "function", "name": "read_block"}))
    assert named.output[0].name == "read_block"
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**fields(tools=[FUNCTION], tool_choice={"type": "function", "name": "other"}))
    assert error.value.param == "tool_choice"


def test_115_a_response_continues_another(client):
    first = client.responses.create(**fields(instructions="Be brief."))
    second = client.responses.create(**fields(input="Why?", previous_response_id=first.id))
    items = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": first.output_text},
             {"role": "user", "content": "Why?"}]
    whole = client.responses.create(**fields(input=items))
    # The instructions of the first are not inherited.
    assert second.usage.input_tokens == whole.usage.input_tokens and second.output_text == whole.output_text
    assert second.previous_response_id == first.id
    third = client.responses.create(**fields(input="And?", previous_response_id=second.id))
    assert third.usage.input_tokens > second.usage.input_tokens
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**fields(previous_response_id="resp_unknown"))
    assert error.value.code == "previous_response_not_found"


def test_116_an_answer_that_is_cut(client):
    response = client.responses.create(**fields(max_output_tokens=16, extra_body={"ignore_eos": True}))
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.output[-1].status == "incomplete" and response.usage.output_tokens == 16
    events = list(client.responses.create(**fields(max_output_tokens=16, stream=True,
                                                   extra_body={"ignore_eos": True})))
    assert events[-1].type == "response.incomplete"


def test_117_tools_of_other_types_are_skipped(client):
    body = fields(tools=[*HOSTED, FUNCTION], include=["reasoning.encrypted_content"],
                  parallel_tool_calls=True, reasoning={"effort": "medium", "summary": "auto"},
                  text={"verbosity": "low"}, prompt_cache_key="conversation", truncation="auto",
                  service_tier="auto")
    response = client.responses.create(**body)
    assert response.output and len(response.tools) == 5
    alone = client.responses.create(**{**body, "tools": [FUNCTION]})
    assert alone.usage.input_tokens == response.usage.input_tokens


def test_119_stored_responses_belong_to_their_key(daemon, client):
    other = openai.OpenAI(base_url=daemon.url + "/v1", api_key=KEYS[1], max_retries=0)
    response = client.responses.create(**fields())
    assert client.responses.retrieve(response.id).to_dict() == response.to_dict()
    items = client.responses.input_items.list(response.id).data
    assert [item.type for item in items] == ["message"] and items[0].content[0].text == QUESTION
    for call in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list,
                 other.responses.cancel):
        with pytest.raises(openai.NotFoundError) as error:
            call(response.id)
        assert error.value.code == "response_not_found"
    with pytest.raises(openai.BadRequestError):
        other.responses.create(**fields(previous_response_id=response.id))
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(response.id)
    client.responses.delete(response.id)
    forgotten = client.responses.create(**fields(store=False))
    assert forgotten.store is False
    for gone in (response.id, forgotten.id):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(gone)


def test_items_are_listed_in_pages_and_can_be_named(client):
    items = [{"role": "user", "content": f"Question {i}?"} for i in range(5)]
    response = client.responses.create(**fields(input=items, max_output_tokens=20))
    listed = client.responses.input_items.list(response.id, order="asc", limit=2)
    assert [item.content[0].text for item in listed.data] == ["Question 0?", "Question 1?"]
    assert listed.has_more
    assert len(list(client.responses.input_items.list(response.id, limit=2))) == 5
    again = client.responses.create(**fields(input=[
        *items, {"type": "item_reference", "id": response.output[0].id},
        {"role": "user", "content": "Why?"}]))
    spelled = client.responses.create(**fields(input=[
        *items, {"role": "assistant", "content": response.output_text}, {"role": "user", "content": "Why?"}]))
    assert again.usage.input_tokens == spelled.usage.input_tokens
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**fields(input=[{"type": "item_reference", "id": "msg_other_0"}]))
    assert error.value.param == "input[0].id"


class Block(pydantic.BaseModel):
    tier: typing.Literal["device", "host"]
    number: int


def test_120_an_answer_of_a_schema(client):
    response = client.responses.parse(**fields(max_output_tokens=200), text_format=Block)
    assert isinstance(response.output_parsed, Block)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**fields(text={"format": {"type": "json_schema", "name": "n", "strict": True,
                                                          "schema": {"not": {}}}}))
    assert error.value.code == "invalid_json_schema" and error.value.param.startswith("text.format.")


def test_log_probabilities(client):
    response = client.responses.create(**fields(include=["message.output_text.logprobs"], top_logprobs=2))
    logprobs = response.output[0].content[0].logprobs
    assert "".join(entry.token for entry in logprobs).startswith(response.output_text[:10])
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in logprobs)
    streamed = []
    for event in client.responses.create(**fields(include=["message.output_text.logprobs"], top_logprobs=2,
                                                  stream=True)):
        if event.type == "response.output_text.done":
            streamed = event.logprobs
    assert [entry.token for entry in streamed] == [entry.token for entry in logprobs][:len(streamed)]
    assert len(streamed) > 3


def test_counting_and_filling_the_cache(client):
    body = {"model": "demo", "input": QUESTION, "instructions": "Be brief. " * 20}
    count = client.responses.input_tokens.count(**body)
    assert count.object == "response.input_tokens"
    filled = client.responses.create(**body, extra_body={"generate": False, "cache_salt": "fill"})
    assert filled.output == [] and filled.status == "completed" and filled.usage.output_tokens == 0
    assert filled.usage.input_tokens == count.input_tokens
    assert filled.usage.input_tokens_details.cached_tokens == 0
    after = client.responses.create(**body, max_output_tokens=8, extra_body={"cache_salt": "fill"})
    assert after.usage.input_tokens_details.cached_tokens >= count.input_tokens - 16


@pytest.mark.parametrize("body, param", [
    ({"input": []}, "input"), ({"input": None}, "input"),
    ({"input": [{"type": "computer_call"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
    ({"input": [{"role": "nobody", "content": "a"}]}, "input[0].role"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"background": True}, "background"), ({"conversation": "c"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"), ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
    ({"max_output_tokens": -1}, "max_output_tokens"), ({"model": "other"}, "model"),
    ({"input": "a " * 5000}, "input")])
def test_errors_name_the_field(daemon, body, param):
    status, _, text = daemon.request("POST", "/v1/responses", {**fields(), **body},
                                     headers={"Authorization": f"Bearer {KEYS[0]}"})
    error = json.loads(text)["error"]
    assert status == (404 if param == "model" else 400) and error["param"] == param, error


def test_routes_that_are_refused_by_name(daemon, client):
    with pytest.raises(openai.NotFoundError, match="embeddings") as error:
        client.embeddings.create(model="demo", input="a", encoding_format="float")
    assert error.value.code == "unknown_url"
    for path, expected in {"/v1/responses/compact": 404, "/v1/responses/a/b": 405}.items():
        status, _, text = daemon.request("POST", path, {}, headers={"Authorization": f"Bearer {KEYS[0]}"})
        code = "unknown_url" if expected == 404 else "method_not_allowed"
        assert status == expected and json.loads(text)["error"]["code"] == code
