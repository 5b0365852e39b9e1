"""Special tokens that other files than tokenizer.json name: what the daemon answers and `validate` prints."""

import json
import shutil

import pytest

from daemon import MODEL, Daemon, run

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json")


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for name in FILES:
        shutil.copy(MODEL / name, copy)
    return copy


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def post(daemon, path, body):
    status, _, text = daemon.request("POST", path, body)
    assert status == 200, text
    return json.loads(text)


def test_names_of_special_tokens_map(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    other = next(token["content"] for token in config["added_tokens_decoder"].values()
                 if token["content"] != config["eos_token"])
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": config["eos_token"],
        "chat_template": "{{ bos_token }}|{{ messages[0].content }}|{{ eos_token }}"}))
    (folder / "special_tokens_map.json").write_text(json.dumps({
        "eos_token": {"content": other, "lstrip": False, "rstrip": False, "normalized": False}}))
    plan = json.loads(run("validate", "--json", "--model", folder).stdout)
    assert {"name": "eos_token", "text": other, "from": "special_tokens_map.json"} in plan["special_tokens"]
    assert any(said.startswith("eos_token is ") and "special_tokens_map.json counts" in said
               for said in plan["tokenizer_files"])
    assert f"eos_token {other} from special_tokens_map.json" in run("validate", "--model", folder).stdout
    with Daemon(model=folder) as daemon:
        prompt = post(daemon, "/apply-template", {"messages": [{"role": "user", "content": "hi"}]})["prompt"]
        assert prompt == f"|hi|{other}"
        assert daemon.logged("files of the tokenizer differ")


def test_tokens_and_flags_of_added_tokens_decoder(folder):
    last = json.loads((folder / "tokenizer.json").read_text())["added_tokens"][-1]
    edit(folder / "tokenizer.json", lambda file: file["added_tokens"].pop())
    edit(folder / "tokenizer_config.json",
         lambda file: file["added_tokens_decoder"][str(last["id"])].update(lstrip=True, rstrip=True))
    with Daemon(model=folder) as daemon:
        answer = post(daemon, "/tokenize", {"prompt": f"  {last['content']}  ", "add_special_tokens": False})
        assert answer["tokens"] == [last["id"]]


def test_files_that_agree(folder):
    plan = json.loads(run("validate", "--json", "--model", folder).stdout)
    assert plan["tokenizer_files"] == []


def test_a_token_without_an_embedding(folder):
    edit(folder / "tokenizer_config.json", lambda file: file.update(pad_token="<never trained>"))
    past = json.loads((folder / "config.json").read_text())["vocab_size"]  # all ids below are tokens
    told = json.loads(run("validate", "--json", "--model", folder).stdout)["tokenizer_files"]
    assert any("a prompt with such a token is refused" in said for said in told)
    with Daemon(model=folder) as daemon:
        body = {"prompt": "<never trained>", "add_special_tokens": False}
        assert post(daemon, "/tokenize", body)["tokens"] == [past]
        status, _, text = daemon.request("POST", "/v1/completions",
                                         {"model": "model", "prompt": "<never trained>", "max_tokens": 1})
        assert status == 400 and str(past) in text
        assert daemon.request("POST", "/v1/completions", {"model": "model", "prompt": "hi"})[0] == 200
