"""Inputs of ../shared/cases/README.md that were answered wrongly, each with further ones of its kind."""

import json
import os
import pathlib
import shutil

import pytest

from daemon import ROOT, Daemon, run

SHARED = pathlib.Path(os.environ.get("PREFIXD_SHARED", ROOT.parent / "shared"))
CASES = SHARED / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")


@pytest.fixture
def golden(tmp_path):
    """A function that copies a folder of ../shared/golden, with other files of ../shared/cases."""

    def copy(name, **files):
        folder = tmp_path / name
        shutil.copytree(SHARED / "golden" / name, folder)
        for file in folder.iterdir():
            file.chmod(0o644)
        for target, source in files.items():
            shutil.copy(CASES / source, folder / target.replace("__", "."))
        return folder

    return copy


@pytest.fixture(scope="module")
def demo():
    with Daemon() as daemon:
        yield daemon


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def post(daemon, path, body):
    status, _, text = daemon.request("POST", path, body)
    return status, json.loads(text)


def validate(folder):
    return run("validate", "--model", folder, "--device-cache", "4MiB")


def test_names_of_the_map(golden):
    folder = golden("llama-gqa",
                    special_tokens_map__json="special-tokens-map/special_tokens_map.json",
                    tokenizer_config__json="special-tokens-map/tokenizer_config.json")
    with Daemon(model=folder) as daemon:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        assert post(daemon, "/apply-template", body) == (200, {"prompt": "<|begin_of_text|>|hi<|eot_id|>"})


# Texts and ids with added-tokens/tokenizer.json: one token stands in tokenizer_config.json only.
@pytest.mark.parametrize("text, ids", [("x</tool_call>y", [87, 644, 88]), ("</tool_call>", [644]),
                                       ("</tool_call></tool_call>", [644, 644]),
                                       ("<tool_call>x</tool_call>", [643, 87, 644])])
def test_a_token_of_tokenizer_config_only(golden, text, ids):
    folder = golden("qwen2", tokenizer__json="added-tokens/tokenizer.json")
    with Daemon(model=folder) as daemon:
        body = {"prompt": text, "add_special_tokens": False}
        assert post(daemon, "/tokenize", body)[1]["tokens"] == ids


@pytest.mark.parametrize("text, ids", [("a  <tool_call>  b", [64, 643, 65]), ("a<tool_call>b", [64, 643, 65]),
                                       ("a\n<tool_call>\t\nb", [64, 643, 65]), (" <tool_call> ", [643])])
def test_flags_of_tokenizer_config_only(golden, text, ids):
    folder = golden("qwen2", tokenizer_config__json="added-tokens/tokenizer_config.flags.json")
    with Daemon(model=folder) as daemon:
        body = {"prompt": text, "add_special_tokens": False}
        assert post(daemon, "/tokenize", body)[1]["tokens"] == ids


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{
        "id": "abcdefghi",
        "type": "function",
        "function": {
            "name": "f",
            "arguments": "{}"
        }
    }]
}


@pytest.mark.parametrize("content, text", [(parts("TTT"), "TTT"), ("TTT", "TTT"), (parts("T", "U"), "T\nU"),
                                           (["TTT"], "TTT")])
def test_parts_of_a_tool_message_are_text(golden, content, text):
    for file in sorted((CASES / "tool-result-parts").glob("*.jinja")):
        with Daemon("--chat-template", file, model=golden("llama-gqa")) as daemon:
            messages = [{
                "role": "user",
                "content": "u"
            }, CALL, {
                "role": "tool",
                "tool_call_id": "abcdefghi",
                "content": content
            }]
            status, answer = post(daemon, "/apply-template", {"messages": messages})
            assert status == 200, answer
            begin = "[TOOL_RESULTS]" if file.name.startswith("Devstral") else "[TOOL_CONTENT]"
            assert begin + text in answer["prompt"], answer
        shutil.rmtree(daemon.options[1])


@pytest.mark.parametrize("roles", [["system", "user"], ["system", "user", "assistant", "user"], ["user"]])
def test_parts_of_a_system_message_are_text(golden, roles):
    file, = (CASES / "system-parts").glob("*.jinja")
    with Daemon("--chat-template", file, model=golden("llama-gqa")) as daemon:
        plain, listed = ([{
            "role": role,
            "content": form(role.upper())
        } for role in roles] for form in (str, parts))
        wanted = post(daemon, "/apply-template", {"messages": plain})
        assert wanted[0] == 200 and "USER" in wanted[1]["prompt"], wanted
        assert post(daemon, "/apply-template", {"messages": listed}) == wanted


# Keys of config.json or generation_config.json that the reference does not read, or for which it has a value
# that means nothing. Served; the words stand in a warning.
ACCEPTED = [
    ("llama-gqa", "config", {
        "pretraining_tp": 2
    }, ""),
    ("llama-gqa", "config", {
        "pretraining_tp": 8,
        "attention_dropout": 0.5,
        "use_cache": False
    }, ""),
    ("llama-gqa", "config", {
        "bos_token_id": 999999
    }, "config.json: bos_token_id"),
    ("llama-gqa", "config", {
        "eos_token_id": [2, -1]
    }, "config.json: eos_token_id"),
    ("mistral", "config", {
        "use_sliding_window": False,
        "sliding_window": None
    }, ""),
    ("mistral", "config", {
        "use_sliding_window": None,
        "sliding_window": None
    }, ""),
    ("qwen2", "config", {
        "use_sliding_window": False,
        "sliding_window": None
    }, ""),
    ("llama-gqa", "config", {
        "use_sliding_window": False,
        "sliding_window": 32
    }, ""),
    ("llama-gqa", "generation_config", {
        "top_k": -1
    }, ""),
    ("llama-gqa", "generation_config", {
        "top_k": 0
    }, ""),
    ("llama-gqa", "generation_config", {
        "top_k": 10**6
    }, ""),
    ("llama-gqa", "generation_config", {
        "top_p": 0,
        "min_p": None,
        "temperature": None
    }, ""),
    ("llama-gqa", "generation_config", {
        "eos_token_id": 999999
    }, "generation_config.json: eos_token_id"),
    ("qwen2-yarn", "rope", {
        "attn_factor": 0.878
    }, "rope_scaling.attn_factor"),
    ("qwen2-yarn", "rope", {
        "finetuned": True
    }, "rope_scaling.finetuned"),
    ("qwen2-yarn", "rope", {
        "mrope_section": [16, 24]
    }, "rope_scaling.mrope_section"),
    ("llama3-rope", "rope", {
        "attention_factor": 1.0
    }, "rope_scaling.attention_factor"),
]


@pytest.mark.parametrize("name, where, changes, warning", ACCEPTED, ids=lambda value: str(value)[:40])
def test_keys_that_change_nothing_are_accepted(golden, name, where, changes, warning):
    folder = golden(name)
    if where == "rope":
        where, key = "config", "rope_scaling"
        document = json.loads((folder / "config.json").read_text())
        changes = {key: {**document[key], **changes}}
    edit(folder / f"{where}.json", **changes)
    done = validate(folder)
    assert done.returncode == 0, done.stderr
    assert warning in done.stderr and ("warning" in done.stderr) == bool(warning), done.stderr


def test_a_start_reads_the_files_beside_the_weights_once(golden):
    folder = golden("llama-gqa")
    edit(folder / "generation_config.json", eos_token_id=999999)
    with Daemon(model=folder) as daemon:
        assert sum("generation_config.json: eos_token_id" in line for line in daemon.log) == 1


REFUSED = [
    ("llama-gqa", {
        "model_type": "mixtral"
    }, 'model_type is "mixtral"'),
    ("llama-gqa", {
        "model_type": "phi3"
    }, 'model_type is "phi3"'),
    ("llama-gqa", {
        "model_type": "mixtral",
        "architectures": None
    }, 'model_type is "mixtral"'),
    ("llama-gqa", {
        "architectures": ["Phi3ForCausalLM"]
    }, "Phi3ForCausalLM"),
    ("llama-gqa", {
        "model_type": "qwen2"
    }, 'model_type is "qwen2" (expected: the family of architectures Llama'),
    ("qwen3", {
        "head_dim": None
    }, "head_dim is null (expected: a number; delete the key to get 128"),
    ("qwen3", {
        "hidden_size": None
    }, "hidden_size is null (expected: an integer from 1"),
    ("llama-gqa", {
        "vocab_size": None
    }, "vocab_size is null (expected: an integer from 1"),
    ("mistral", {
        "num_attention_heads": None
    }, "num_attention_heads is null"),
    ("llama-gqa", {
        "hidden_size": 512.5
    }, "hidden_size is 512.5 (expected"),
    ("llama-gqa", {
        "hidden_size": 512.0
    }, "hidden_size is 512.0 (expected"),
    ("llama-gqa", {
        "rms_norm_eps": 1e30
    }, "rms_norm_eps is 1e+30 (expected"),
]


@pytest.mark.parametrize("name, changes, words", REFUSED, ids=lambda value: str(value)[:40])
def test_a_refusal_shows_the_value_as_the_file_has_it(golden, name, changes, words):
    folder = golden(name)
    edit(folder / "config.json", **changes)
    done = validate(folder)
    assert done.returncode == 3 and "config.json: " in done.stderr and words in done.stderr, done.stderr


def test_numbers_of_a_request_reach_the_template_as_they_are(tmp_path):
    template = tmp_path / "numbers.jinja"
    template.write_text(
        "{{ messages[0].content }}{% if messages[1] %}"
        "{{ messages[1].tool_calls[0].function.arguments | tojson }}{% endif %}{{ x | tojson }}")
    numbers = [
        "1.5", "0.1", "12345678901234567890123", "-18446744073709551616", "0.66014748736612",
        "9007199254740993", "1e+30", "-0.0", "5e-324", "123456789012.34567"
    ]
    with Daemon("--chat-template", template) as daemon:
        for number in numbers:
            call = '{"n": [%s]}' % number
            body = ('{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "", '
                    '"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": %s'
                    '}}]}], "chat_template_kwargs": {"x": {"n": [%s]}}}')
            for arguments in (call, json.dumps(call)):
                connection = daemon.connect()
                connection.request("POST", "/apply-template", body % (arguments, number))
                response = connection.getresponse()
                text = response.read()
                assert response.status == 200, text
                shown = json.loads(text)["prompt"]
                spelled = json.dumps(json.loads(number))
                assert shown.endswith('{"n": [%s]}' % spelled), (number, shown)
                assert shown.count(spelled) >= 2, (number, shown)


EMPTY = ['""', "[]", "[[]]", '[""]']


@pytest.mark.parametrize("prompt", EMPTY)
def test_an_empty_prompt_begins_with_bos(demo, prompt):
    for add_special in (True, False):
        status, answer = post(demo, "/v1/completions", {
            "prompt": json.loads(prompt),
            "max_tokens": 1,
            "add_special_tokens": add_special
        })
        assert status == 200 and answer["usage"]["prompt_tokens"] == 1, answer


def test_an_empty_prompt_of_a_model_without_bos_is_refused(golden):
    with Daemon(model=golden("qwen2")) as daemon:
        for prompt in EMPTY:
            status, answer = post(daemon, "/v1/completions", {"prompt": json.loads(prompt)})
            assert status == 400 and "the model has no BOS token" in answer["error"]["message"], answer


BODIES = [
    (b'{"prompt":"x\\ud800"}', 'column 19, before \'"}\': a surrogate'),
    (b'\xef\xbb\xbf{"prompt":"x"}', "it begins with a byte order mark; save it without one"),
    (b'{"prompt":"x","temperature":NaN}', "column 29, before 'NaN}': JSON has no NaN"),
    (b'{"prompt":"x",\n}', "line 2, column 1, before '}': the comma before it is one too many"),
    (b'{"prompt":"x"', "column 14: it ends too early"),
    (b"{'prompt':'x'}", 'column 2, before "\'prompt\':\'x\'}": expected double quotes'),
    ('{"prompt":"x"}'.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
    (b'{"prompt":"x","seed":9223372036854775808}',
     "'seed' must be an integer from -9223372036854775808 to 9223372036854775807, not 9223372036854775808."),
    (b'{"prompt":"x","n":99999999999999999999}', "'n' must be an integer from 1 to 16, not 1e+20."),
    (b'{"prompt":"x","top_k":2.5}', "'top_k' must be an integer from -1 to 2147483647, not 2.5."),
    (b'{"prompt":"x","min_p":"low"}', "'min_p' must be a number from 0 to 1, not a string: \"low\"."),
]


@pytest.mark.parametrize("body, words", BODIES, ids=lambda value: str(value)[:30])
def test_a_wrong_body_is_told_where_and_what(demo, body, words):
    connection = demo.connect()
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    connection.close()
    assert response.status == 400 and words in error["message"], error
