"""What README.md says does not work yet is refused by name."""

import json

import pytest

import broken_folders
from daemon import MODEL, ROOT, Daemon

README = (ROOT / "README.md").read_text()
MISSING = README[README.index("## What does not work yet"):README.index("## Documents")]
USER = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as running:
        yield running


@pytest.mark.parametrize("name, path", [("/v1/embeddings", "/v1/embeddings"),
                                        ("/v1/messages", "/v1/messages/batches")])
def test_routes(daemon, name, path):
    assert f"`{name}`" in MISSING
    status, _, text = daemon.request("POST", path, {"model": "demo", "input": "hi", "requests": []})
    assert status == 404 and path in text


def test_responses_in_the_background(daemon):
    assert "background (`/v1/responses`)" in MISSING
    status, _, text = daemon.request("POST", "/v1/responses", {"input": "hi", "background": True})
    assert status == 400 and json.loads(text)["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("field, value", [("bad_words", ["a"]), ("allowed_token_ids", [1])])
def test_fields_of_chats(daemon, field, value):
    assert f"`{field}`" in MISSING
    status, _, text = daemon.request("POST", "/v1/chat/completions", {"messages": USER, field: value})
    assert status == 400 and json.loads(text)["error"]["param"] == field
    assert json.loads(text)["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("field, value", [("suffix", "end"), ("prompt_embeds", "AAAA")])
def test_fields_of_completions(daemon, field, value):
    assert f"`{field}`" in MISSING
    status, _, text = daemon.request("POST", "/v1/completions", {"prompt": "hi", field: value})
    assert status == 400 and json.loads(text)["error"]["param"] == field


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_parts_of_messages(daemon, kind):
    messages = [{"role": "user", "content": [{"type": kind, kind: {"url": "x"}}]}]
    status, _, text = daemon.request("POST", "/v1/chat/completions", {"messages": messages})
    assert status == 400 and json.loads(text)["error"]["code"] == "unsupported_content_type"
    assert kind in text


@pytest.mark.parametrize("case", [
    "awq", "gptq", "bitsandbytes", "fp8", "mlx", "gguf_as_path", "lora", "mixtral", "vision_language", "bert",
    "wordpiece"
])
def test_models(case, tmp_path):
    code, text = broken_folders.message(case, tmp_path / "model")
    assert code == 3 and "model refused" in text
