"""Tests the daemon and its demo model with the official OpenAI client."""

import openai
import pytest

from daemon import Daemon

MESSAGES = [{"role": "user", "content": "What is prefixd?"}]


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as started:
        yield started


@pytest.fixture
def client(daemon):
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)


def test_models(client):
    assert [model.id for model in client.models.list()] == ["demo"]


def test_a_stream_gives_the_same_text_as_a_whole_answer(client):
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, temperature=0, max_tokens=40)
    assert whole.choices[0].finish_reason == "stop" and whole.choices[0].message.content
    text, usage = "", None
    for chunk in client.chat.completions.create(model="demo", messages=MESSAGES, temperature=0, max_tokens=40,
                                                stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            text += choice.delta.content or ""
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_shared_prefix_is_computed_once(client):
    system = {"role": "system", "content": "Answer in one short sentence. " * 30}
    usage = []
    for question in ("What is a block?", "Which port does prefixd use?"):
        answer = client.chat.completions.create(model="demo",
                                                messages=[system, {"role": "user", "content": question}],
                                                temperature=0, max_tokens=8)
        usage.append(answer.usage)
    # Other tests may have cached the start of the template.
    assert usage[0].prompt_tokens_details.cached_tokens < 16
    assert usage[1].prompt_tokens_details.cached_tokens >= usage[1].prompt_tokens - 32


def test_errors_become_exceptions_of_the_client(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=100000)
    assert too_long.value.code == "context_length_exceeded"


def test_keys(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# a comment\nsecret-1\n\nsecret-2 \r\n")
    with Daemon("--api-keys", keys) as guarded:
        for key in ("secret-1", "secret-2"):
            assert openai.OpenAI(base_url=guarded.url + "/v1", api_key=key).models.list().data
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=guarded.url + "/v1", api_key="guess", max_retries=0).models.list()
        assert guarded.get("/health")[0] == 200
