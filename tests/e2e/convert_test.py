"""Tests of `prefixd convert`: what other programs read of its files, and how it behaves.

The library gguf, which llama.cpp's own programs use, and torch are optional: without them their tests are
skipped by name.
"""

import http.client
import json
import os

import pytest

from daemon import MODEL, Daemon, run

MESSAGES = [{"role": "user", "content": "What is prefixd?"}]


def convert(*arguments):
    done = run("convert", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A GGUF file of the demo model, and a folder of that file."""
    folder = tmp_path_factory.mktemp("made")
    report = convert(MODEL, folder / "demo.gguf")
    convert(folder / "demo.gguf", folder / "back")
    return folder / "demo.gguf", folder / "back", report


def answer(model):
    with Daemon("--served-model-name", "m", model=model) as daemon:
        body = {"model": "m", "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
        status, _, text = daemon.request("POST", "/v1/chat/completions", body)
        assert status == http.client.OK, text
        answered = json.loads(text)
        return answered["choices"][0]["message"]["content"], answered["usage"]["prompt_tokens"]


def test_what_is_made_answers_as_the_model(made):
    gguf, folder, _ = made
    assert answer(gguf) == answer(folder) == answer(MODEL)


def conversation(model):
    """Returns of each turn of a conversation the answer, the tokens of the prompt and those in the cache."""
    turns, messages = [], []
    with Daemon("--served-model-name", "m", model=model) as daemon:
        for question in ("What is prefixd?", "What is a block?", "Which port does it use?", "Why?",
                         "Say more.", "Thank you."):
            messages.append({"role": "user", "content": question})
            body = {"model": "m", "messages": messages, "max_tokens": 12, "temperature": 0}
            status, _, text = daemon.request("POST", "/v1/chat/completions", body)
            assert status == http.client.OK, text
            answered = json.loads(text)
            usage = answered["usage"]
            turns.append((answered["choices"][0]["message"]["content"], usage["prompt_tokens"],
                          usage["prompt_tokens_details"]["cached_tokens"]))
            messages.append({"role": "assistant", "content": turns[-1][0]})
    return turns


def test_conversations_hit_as_those_of_the_model(made):
    gguf, _, _ = made
    turns = conversation(gguf)
    assert turns == conversation(MODEL)
    # What comes before the answer is in the cache, except for tokens that the answer's beginning changes.
    for (_, before, _), (_, prompt, cached) in zip(turns, turns[1:]):
        assert before - 16 < cached < prompt


def test_the_report_says_what_was_made(made):
    gguf, _, report = made
    assert report["ok"] and report["format"] == "gguf" and report["model_type"] == "llama"
    assert report["bytes"] == gguf.stat().st_size
    assert report["lost"] == ["the defaults of sampling in generation_config.json"]
    assert set(report["types"]) == {"BF16", "F32"} and report["parameters"] > 1_000_000
    assert sorted(os.listdir(gguf.parent)) == ["back", "demo.gguf"]


def test_the_library_gguf_reads_the_file(made):
    library = pytest.importorskip("gguf")
    gguf, _, report = made
    reader = library.GGUFReader(gguf)
    assert len(reader.tensors) == report["tensors"]
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config = json.loads((MODEL / "config.json").read_text())
    assert fields["general.architecture"] == "llama"
    assert fields["llama.block_count"] == config["num_hidden_layers"]
    vocabulary = json.loads((MODEL / "tokenizer.json").read_text())["model"]
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == config["vocab_size"]
    assert all(tokens[number] == token for token, number in vocabulary["vocab"].items())
    assert fields["tokenizer.ggml.pre"] == "llama-bpe" and "messages" in fields["tokenizer.chat_template"]


def halves(rows, heads):
    """Rows of Q or K in the order of transformers; in a GGUF file the two that a rotation turns together are
    neighbours."""
    count, columns = rows.shape
    return rows.reshape(heads, count // heads // 2, 2, columns).swapaxes(1, 2).reshape(count, columns)


def test_the_library_gguf_reads_the_same_numbers(tmp_path):
    library = pytest.importorskip("gguf")
    safetensors = pytest.importorskip("safetensors.numpy")
    config = json.loads((MODEL / "config.json").read_text())
    convert(MODEL, tmp_path / "model.gguf", "--type", "q4_0")
    convert(tmp_path / "model.gguf", tmp_path / "back", "--type", "f32")
    ours = safetensors.load_file(tmp_path / "back/model.safetensors")
    heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
    names = {"token_embd": "model.embed_tokens", "blk.6.ffn_down": "model.layers.6.mlp.down_proj",
             "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
             "blk.3.attn_q": "model.layers.3.self_attn.q_proj",
             "blk.2.attn_k": "model.layers.2.self_attn.k_proj"}
    found = 0
    for tensor in library.GGUFReader(tmp_path / "model.gguf").tensors:
        name = tensor.name.removesuffix(".weight")
        if name not in names:
            continue
        assert tensor.tensor_type == library.GGMLQuantizationType.Q4_0
        numbers = library.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_" in name and name[-1] in heads:
            numbers = halves(numbers, heads[name[-1]])
        assert (numbers == ours[names[name] + ".weight"]).all(), name
        found += 1
    assert found == len(names)


def test_transformers_reads_the_tokenizer(made):
    transformers = pytest.importorskip("transformers")
    _, folder, _ = made
    ours, theirs = (transformers.AutoTokenizer.from_pretrained(path) for path in (folder, MODEL))
    for text in ("Hello  World, 12345!", "caf\u00e9 <|im_start|>user\n", "\u65e5\u672c\u8a9e don't"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    assert ours.eos_token == theirs.eos_token and ours.bos_token == theirs.bos_token
    assert (ours.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) ==
            theirs.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True))
    config, original = (transformers.AutoConfig.from_pretrained(path) for path in (folder, MODEL))
    for name in ("hidden_size", "num_key_value_heads", "head_dim", "rope_parameters", "rms_norm_eps",
                 "tie_word_embeddings", "vocab_size", "max_position_embeddings", "dtype"):
        assert getattr(config, name) == getattr(original, name), name


def test_transformers_computes_the_same(made):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    _, folder, _ = made
    ids = torch.tensor([[1, 5, 100, 7, 900, 33]])
    ours, theirs = (transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)(ids).logits
                    for path in (folder, MODEL))
    assert torch.equal(ours, theirs)


def test_validate_says_what_a_gguf_file_costs(tmp_path):
    convert(MODEL, tmp_path / "model.gguf", "--type", "q8_0")
    plan, folder = (json.loads(run("validate", "--json", "--model", path, "--device-cache", "16MiB").stdout)
                    for path in (tmp_path / "model.gguf", MODEL))
    assert set(plan["weights"]["dtypes"]) == {"Q8_0", "F32"} and set(folder["weights"]["dtypes"]) == {"BF16"}
    assert plan["weights"]["format"] == "q8_0" and folder["weights"]["format"] == "bf16"
    assert plan["weights"]["bytes"] < 0.6 * folder["weights"]["bytes"]
    assert "bf16_products" in folder and "bf16_products" not in plan, "no weight is bf16 any more"
    for same in ("architecture", "kv_bytes_per_token", "tokenizer"):
        assert plan[same] == folder[same], same


def test_nothing_is_overwritten_without_the_flag(tmp_path, made):
    gguf, folder, _ = made
    for source, target in ((MODEL, tmp_path / "file"), (gguf, tmp_path / "folder")):
        convert(source, target)
        before = target.stat()
        done = run("convert", source, target)
        assert done.returncode == 2 and f"{target} exists" in done.stderr and "--overwrite" in done.stderr
        assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        convert(source, target, "--overwrite")
        assert target.stat().st_ino != before.st_ino
    (tmp_path / "folder/notes").write_text("mine")
    done = run("convert", gguf, tmp_path / "folder", "--overwrite", "--json")
    assert done.returncode == 2 and "notes" in json.loads(done.stdout)["error"]
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("arguments, code, named", [
    (["{model}", "{out}", "--type", "q4_k"], 2, "no type of a GGUF file that prefixd writes (expected: f32,"),
    (["{gguf}", "{out}", "--type", "q8_0"], 2, "no type of a folder that prefixd writes (expected: f32,"),
    (["{model}/tokenizer.json", "{out}"], 3, "give the folder that it is in"),
    (["{tmp}/none", "{out}"], 3, "No such file or directory"),
    (["{model}", "{tmp}/none/model.gguf"], 2, "there is no folder"),
    (["{model}", "{tmp}"], 2, "is a folder; give the name of a file in it"),
    (["{gguf}", "{model}/config.json"], 2, "is not a folder"),
])
def test_refusals_name_value_and_remedy(tmp_path, made, arguments, code, named):
    gguf, _, _ = made
    out = tmp_path / "out"
    words = [word.format(model=MODEL, gguf=gguf, out=out, tmp=tmp_path) for word in arguments]
    done = run("convert", *words)
    assert done.returncode == code and named in done.stderr, done.stderr
    told = json.loads(run("convert", *words, "--json").stdout)
    assert told["ok"] is False and told["exit_code"] == code and named in told["error"]
    assert os.listdir(tmp_path) == []
