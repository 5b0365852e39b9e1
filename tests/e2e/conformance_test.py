"""Checks what clients of this API rely on, with the official client and with plain HTTP: transport and chat.

The numbers in the names of the tests are rows of the conformance checklist.
"""

import json
import math
import socket
import struct
import time

import openai
import pytest

from conformance_server import USER, parse_events, server
from daemon import Daemon, dial, http_connection


# Transport and routing


def test_1_models_list(server):
    model = server.client.models.list().data[0]
    assert model.id and model.object == "model" and isinstance(model.created, int) and model.owned_by


def test_2_model_ids_with_separators(tmp_path):
    name = "a/b c:d"
    with Daemon("--served-model-name", name) as daemon:
        assert openai.OpenAI(base_url=daemon.url + "/v1", api_key="any").models.retrieve(name).id == name
        assert daemon.get("/v1/models/a/b%20c:d")[0] == 200


def test_3_unknown_model_retrieve(server):
    with pytest.raises(openai.NotFoundError) as error:
        server.client.models.retrieve("nobody/knows")
    assert error.value.code == "model_not_found"


def test_4_unknown_model_chat(server):
    with pytest.raises(openai.NotFoundError) as error:
        server.chat(model="other")
    assert error.value.code == "model_not_found" and error.value.param == "model"


def test_7_health(server):
    status, body = server.json("GET", "/health")
    assert status == 200 and body == {"status": "ok"}
    assert server.json("GET", "/v1/health")[0] == 200


def test_9_wrong_method(server):
    status, headers, body = server.raw("GET", "/v1/chat/completions")
    assert status == 405 and headers["allow"] == "POST" and json.loads(body)["error"]["message"]


def test_10_unknown_path(server):
    status, body = server.json("POST", "/v1/embeddings", {})
    assert status == 404 and body["error"]["message"] and body["error"]["code"] == "unknown_url"
    status, body = server.json("POST", "/v1/v1/chat/completions", {})
    assert status == 404 and "twice" in body["error"]["message"]


def test_11_base_urls(server):
    for base in (server.url, server.url + "/", server.url + "/v1/"):
        client = openai.OpenAI(base_url=base, api_key="any", max_retries=0)
        assert client.models.list().data
        assert client.chat.completions.create(model=server.model, messages=USER, max_tokens=1)
    assert server.raw("GET", "/v1/models/")[0] == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": "\xff"}', b'{"model": "demo", "messages": [', b"null", b'"x"'])
def test_12_malformed_bodies(server, body):
    status, headers, text = server.raw("POST", "/v1/chat/completions", body)
    assert status == 400 and headers["x-request-id"]
    assert json.loads(text)["error"]["type"] == "invalid_request_error"


def test_13_content_types(server):
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    assert server.raw("POST", "/v1/completions", body, {"Content-Type": "text/plain"})[0] == 415
    assert server.raw("POST", "/v1/completions", body, {})[0] == 200


def test_15_keep_alive_chunks_and_pipelines(server):
    connection = http_connection(server.url)
    for _ in range(100):
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert response.status == 200 and response.read()
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    connection.request("POST", "/v1/completions", iter([body[:5], body[5:]]),
                       {"Content-Type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200 and json.loads(response.read())["choices"]
    connection.close()
    with dial(server.url) as two:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        two.sendall(head + body + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while piece := two.recv(65536):
            text += piece
    assert text.count(b"HTTP/1.1 200 OK") == 2 and text.index(b"text_completion") < text.index(b'"version"')


def test_16_slow_body():
    with Daemon("--header-seconds", "1") as daemon:
        with dial(daemon.url) as slow:
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHo")
            assert daemon.get("/health")[0] == 200
            assert slow.recv(65536).startswith(b"HTTP/1.1 408")


def test_17_18_request_ids(server):
    ids = set()
    for _ in range(3):
        raw = server.client.chat.completions.with_raw_response.create(model=server.model, messages=USER,
                                                                      max_tokens=1)
        assert raw.headers["x-request-id"] == raw.parse()._request_id
        ids.add(raw.headers["x-request-id"])
    assert len(ids) == 3
    assert server.raw("GET", "/nowhere")[1]["x-request-id"]
    assert server.bad(n=0).response.headers["x-request-id"]


def test_20_21_content_types_of_answers(server):
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    body = {"model": server.model, "messages": USER, "max_tokens": 1}
    whole = server.raw("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)[1]
    assert whole["content-type"] == "application/json"
    body = json.dumps({**body, "stream": True}).encode()
    stream = server.raw("POST", "/v1/chat/completions", body, headers)[1]
    assert stream["content-type"] == "text/event-stream; charset=utf-8"
    assert stream["cache-control"] == "no-cache"
    assert "content-length" not in stream and "content-encoding" not in stream


# Chat, whole


def test_22_23_minimal_chat(server):
    answer = server.client.chat.completions.create(model=server.model, messages=USER)
    choice, usage = answer.choices[0], answer.usage
    assert answer.object == "chat.completion" and len(answer.choices) == 1
    assert choice.message.role == "assistant" and choice.message.refusal is None and choice.logprobs is None
    assert choice.finish_reason in ("stop", "length")
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens > 0
    assert usage.prompt_tokens_details.cached_tokens is not None
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_24_25_limits_of_tokens(server):
    one = server.chat(max_tokens=None, max_completion_tokens=1)
    assert one.choices[0].finish_reason == "length" and one.usage.completion_tokens == 1
    assert server.chat(max_tokens=50, max_completion_tokens=3,
                       extra_body={"ignore_eos": True}).usage.completion_tokens == 3


def test_26_27_nulls_and_unknown_fields(server):
    names = ("temperature", "top_p", "stop", "tools", "tool_choice", "max_tokens", "n", "seed", "logprobs",
             "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "response_format", "user",
             "stream_options", "metadata", "modalities", "audio")
    messages = [{**USER[0], "foo": {"bar": 1}}]
    body = {"model": server.model, "messages": messages, "foo": 1, **dict.fromkeys(names)}
    assert server.json("POST", "/v1/chat/completions", body)[0] == 200


def test_28_repeatable(server):
    for fields in ({"temperature": 0}, {"temperature": 1, "seed": 7}):
        first, second = (server.chat(**fields).choices[0].message.content for _ in range(2))
        assert first == second


@pytest.mark.parametrize("field, value", [("temperature", 2.1), ("top_p", -0.1), ("n", 0),
                                          ("presence_penalty", 3), ("max_tokens", -5), ("stop", ""),
                                          ("seed", "x"), ("stream", "yes")])
def test_29_out_of_range(server, field, value):
    status, body = server.json("POST", "/v1/chat/completions",
                               {"model": server.model, "messages": USER, field: value})
    assert status == 400 and body["error"]["param"] == field
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_29_30_top_logprobs(server):
    assert server.bad(logprobs=True, top_logprobs=21).param == "top_logprobs"
    assert server.bad(top_logprobs=2).param == "top_logprobs"


def test_31_several_choices(server):
    answer = server.chat(n=3, temperature=1, seed=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.prompt_tokens == server.chat().usage.prompt_tokens
    choices = server.chat(n=3, temperature=2, seed=3, max_tokens=20).choices
    assert len({choice.message.content for choice in choices}) > 1


def test_32_33_stop_strings(server):
    text = server.chat(max_tokens=24).choices[0].message.content
    assert len(text) > 12
    for start, end in ((3, 4), (4, 9), (2, 11)):
        stop = text[start:end]
        answer = server.chat(max_tokens=24, stop=stop)
        assert answer.choices[0].message.content == text[:text.index(stop)]
        assert answer.choices[0].finish_reason == "stop"
        two = server.chat(max_tokens=24, stop=[stop, "never said"])
        assert two.choices[0].message.content == text[:text.index(stop)]
        kept = server.chat(max_tokens=24, stop=stop, extra_body={"include_stop_str_in_output": True})
        assert kept.choices[0].message.content == text[:text.index(stop)] + stop
    assert server.bad(stop=["a", ""]).param == "stop"


def test_35_logprobs(server):
    answer = server.chat(logprobs=True, top_logprobs=5, max_tokens=6, extra_body={"ignore_eos": True})
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens == 6
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == answer.choices[0].message.content
    for entry in entries:
        tops = [other.logprob for other in entry.top_logprobs]
        assert len(tops) == 5 and tops == sorted(tops, reverse=True)
        assert all(math.isfinite(value) for value in tops)
        assert entry.logprob == max(tops) and entry.token == entry.top_logprobs[0].token


def test_36_parts_and_joined_text(server):
    content = [{"type": "text", "text": "What is"}, {"type": "text", "text": "prefixd?"}]
    parts = [{"role": "user", "content": content}]
    joined = [{"role": "user", "content": "What is\nprefixd?"}]
    assert server.chat(messages=parts).usage.prompt_tokens == server.chat(messages=joined).usage.prompt_tokens


def test_37_images(server):
    content = [{"type": "text", "text": "see"},
               {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    assert server.bad(messages=[{"role": "user", "content": content}]).param == "messages[0].content[1]"


def test_38_40_roles_and_round_trips(server):
    messages = [{"role": "developer", "content": "Be short."}, *USER]
    answer = server.chat(messages=messages)
    system = server.chat(messages=[{"role": "system", "content": "Be short."}, *USER])
    assert answer.usage.prompt_tokens == system.usage.prompt_tokens
    again = [*messages, answer.choices[0].message, {"role": "user", "content": "More?"}]
    assert server.chat(messages=again).choices
    again[-2] = answer.choices[0].message.to_dict()
    assert server.chat(messages=again).choices


@pytest.mark.parametrize("messages",
                         [[], None, [{"role": "foo", "content": "x"}], [{"role": "tool", "content": "x"}]])
def test_41_bad_messages(server, messages):
    body = {"model": server.model} if messages is None else {"model": server.model, "messages": messages}
    status, answer = server.json("POST", "/v1/chat/completions", body)
    assert status == 400 and answer["error"]["param"].startswith("messages")


def test_42_43_context(server):
    limit = server.client.models.list().data[0].max_model_len
    error = server.bad(messages=[{"role": "user", "content": "long " * limit}])
    assert error.code == "context_length_exceeded"
    assert f"maximum context length is {limit} tokens" in error.message
    assert server.bad(max_tokens=limit).code == "context_length_exceeded"


def test_46_extra_fields(server):
    extra = {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 32}
    answer = server.chat(max_tokens=32, temperature=1, extra_body=extra)
    assert answer.usage.completion_tokens == 32
    extra = {"return_token_ids": True, "ignore_eos": True}
    ids = server.complete(max_tokens=8, extra_body=extra).choices[0].token_ids
    stopped = server.complete(max_tokens=8, extra_body={**extra, "stop_token_ids": [ids[3]]}).choices[0]
    assert stopped.token_ids == ids[:ids.index(ids[3]) + 1] and stopped.finish_reason == "stop"
    assert server.bad(extra_body={"repetition_penalty": 0}).param == "repetition_penalty"


def test_49_accepted_without_effect(server):
    assert server.chat(store=True, metadata={"a": "b"}, user="u", service_tier="auto", reasoning_effort="low",
                       verbosity="low", prediction={"type": "content", "content": "x"}).choices


# Chat, as a stream


def test_51_to_57_stream(server):
    body = {"messages": USER, "max_tokens": 20, "stream_options": {"include_usage": True}}
    raw = server.events("/v1/chat/completions", body)
    assert b"\nid:" not in raw and raw.count(b"data: [DONE]\n\n") == 1
    chunks = parse_events(raw)
    whole = server.chat(max_tokens=20)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert not any("role" in choice["delta"] for chunk in chunks[1:] for choice in chunk["choices"])
    for key in ("id", "created", "model", "system_fingerprint", "object"):
        assert len({chunk[key] for chunk in chunks}) == 1, key
    text = "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])
    assert text == whole.choices[0].message.content
    ends = [c for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert len(ends) == 1 and ends[0]["delta"] == {}
    assert ends[0]["finish_reason"] == whole.choices[0].finish_reason
    assert all(chunk["usage"] is None for chunk in chunks[:-1]) and chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["prompt_tokens"] == whole.usage.prompt_tokens
    assert usage["completion_tokens"] == whole.usage.completion_tokens
    bare = parse_events(server.events("/v1/chat/completions", {"messages": USER, "max_tokens": 4}))
    assert all("usage" not in chunk and chunk["choices"] for chunk in bare)


def test_58_59_stream_helper(server):
    # The helper raises an error when the finish reason is "length", so the answers end at a stop string.
    stop = server.chat(max_tokens=24).choices[0].message.content[8:11]
    for n in (1, 2):
        with server.client.chat.completions.stream(model=server.model, messages=USER, temperature=0,
                                                   stop=stop, n=n) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        whole = server.chat(stop=stop, n=n)
        for choice, other in zip(final.choices, whole.choices, strict=True):
            assert choice.message.role == "assistant" and choice.message.content == other.message.content


def test_60_logprobs_in_a_stream(server):
    fields = {"logprobs": True, "top_logprobs": 2, "max_tokens": 12}
    entries = [
        entry for chunk in server.chat(stream=True, **fields) for choice in chunk.choices if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert entries == server.chat(**fields).choices[0].logprobs.content


def test_61_stop_strings_never_leak(server):
    text = server.chat(max_tokens=24).choices[0].message.content
    stop = text[4:10]
    streamed = "".join(choice.delta.content or ""
                       for chunk in server.chat(stream=True, max_tokens=24, stop=stop)
                       for choice in chunk.choices)
    assert streamed == text[:text.index(stop)]


def test_48_62_code_points_at_token_borders(server):
    # At a high temperature tokens with incomplete code points are likely. The text must be valid UTF-8.
    for seed in range(4):
        fields = {"temperature": 2, "seed": seed, "max_tokens": 48, "extra_body": {"ignore_eos": True}}
        pieces = [
            choice.delta.content for chunk in server.chat(stream=True, **fields) for choice in chunk.choices
            if choice.delta.content
        ]
        assert "".join(pieces) == server.chat(**fields).choices[0].message.content
    emoji = "Repeat: \U0001F600\U0001F680"
    answer = server.complete(prompt=emoji, max_tokens=1, echo=True)
    assert answer.choices[0].text.startswith(emoji)


def test_64_errors_before_a_stream(server):
    status, headers, body = server.raw("POST", "/v1/chat/completions",
                                       {"model": server.model, "messages": USER, "stream": True, "n": 0})
    assert status == 400 and headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["param"] == "n"


def test_65_disconnect_ends_the_request(server):
    for how in ("fin", "rst"):
        fields = {"prompt": "prefixd", "max_tokens": 1500, "ignore_eos": True, "stream": True}
        body = json.dumps(fields).encode()
        connection = dial(server.url)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert connection.recv(65536)
        if how == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        deadline = time.monotonic() + 20
        while server.metric("vllm:num_requests_running") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.metric("vllm:num_requests_running") == 0
