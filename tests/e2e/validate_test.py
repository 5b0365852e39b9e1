"""`validate` describes a model and refuses what `serve` refuses, with the same exit code and message."""

import json
import os
import re
import shutil
import struct

import pytest

from daemon import MODEL, Daemon, run, wait_until
from folder_damage import header, remove, write

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json")


def timeless(reason):
    """A sentence without the share of a time that it may have: each process measures it again."""
    return re.sub(r"\d+ %", "N %", reason)


def edit(name, **changes):
    """Changes fields of a JSON file of the folder; None removes one."""

    def apply(folder):
        document = json.loads((folder / name).read_text())
        document.update(changes)
        document = {key: value for key, value in document.items() if value is not None}
        (folder / name).write_text(json.dumps(document))

    return apply


def config(**changes):
    return edit("config.json", **changes)


def truncate(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def rename(tensors):
    tensors["model.norm.scale"] = tensors.pop("model.norm.weight")


def retype(tensors):
    for tensor in tensors.values():
        tensor["dtype"] = "I16"


def overlap(tensors):
    begin, end = tensors["model.norm.weight"]["data_offsets"]
    tensors["model.norm.weight"]["data_offsets"] = [begin - 2, end - 2]


# The change to a copy of the demo model, and the text that the refusal must contain.
REFUSED = {
    "no_config": (remove("config.json"), "has no config.json"),
    "config_is_no_json": (write("config.json", b"{"), "config.json"),
    "config_is_a_list": (write("config.json", b"[]"), "config.json"),
    "no_architecture": (config(architectures=None, model_type=None), "architectures"),
    "other_architecture": (config(architectures=["MixtralForCausalLM"], model_type="mixtral"),
                           "MixtralForCausalLM"),
    "no_layers": (config(num_hidden_layers=0), "num_hidden_layers is 0"),
    "too_many_layers": (config(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "size_is_text": (config(hidden_size="wide"), "hidden_size"),
    "heads_do_not_divide": (config(num_key_value_heads=3), "num_key_value_heads is 3"),
    "odd_head_dim": (config(head_dim=31), "head_dim is 31"),
    "unknown_activation": (config(hidden_act="xielu"), "xielu"),
    "unknown_rope": (config(rope_scaling={"rope_type": "longrope", "factor": 4}), "longrope"),
    "rope_without_factor": (config(rope_scaling={"rope_type": "linear"}), "factor"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "quantization_config"),
    "generation_config": (edit("generation_config.json", temperature="warm"),
                          "generation_config.json: temperature"),
    "no_tokenizer": (remove("tokenizer.json"), "has no tokenizer.json"),
    "tokenizer_is_cut": (truncate("tokenizer.json", 1000), "tokenizer.json"),
    "tokenizer_of_another_kind": (edit("tokenizer.json", model={"type": "WordPiece", "vocab": {}}),
                                  "WordPiece"),
    "template_syntax": (edit("tokenizer_config.json", chat_template="{% if %}"), "--chat-template"),
    "template_is_a_number": (edit("tokenizer_config.json", chat_template=7), "chat_template"),
    "no_weights": (remove("model.safetensors"), "no weights in *.safetensors files"),
    "weights_are_cut": (truncate("model.safetensors", 100_000), "model.safetensors"),
    "weights_are_empty": (truncate("model.safetensors", 0), "model.safetensors"),
    "header_is_too_long": (write("model.safetensors", struct.pack("<Q", 2**62) + b"{}"), "model.safetensors"),
    "a_tensor_is_missing": (header(rename), "'model.norm.weight'"),
    "tensors_of_another_shape": (config(intermediate_size=383), "has shape"),
    "tensors_of_another_type": (header(retype), "I16"),
    "tensors_overlap": (header(overlap), "model.norm.weight"),
    "shards_are_missing": (write("model.safetensors.index.json",
                                 json.dumps({"weight_map": {"model.norm.weight": "a.safetensors"}}).encode()),
                                 None),
}


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for name in FILES:
        shutil.copy(MODEL / name, copy)
    return copy


def refusal(done):
    """Exit code and message of a refusal, without the prefix of the log line."""
    found = re.search(r"model refused: .*", done.stderr)
    return done.returncode, found and found.group().replace('\\"', '"')


@pytest.mark.parametrize("case", REFUSED)
def test_validate_refuses_as_serve_does(case, folder):
    damage, named = REFUSED[case]
    damage(folder)
    arguments = ("--model", folder, "--device-cache", "16MiB", "--listen", "127.0.0.1:0")
    if case == "shards_are_missing":  # the index is read only if model.safetensors is absent
        (folder / "model.safetensors").unlink()
        named = "a.safetensors"
    validated, served = run("validate", *arguments), run("serve", *arguments)
    assert refusal(validated) == refusal(served)
    code, words = refusal(validated)
    assert code == 3 and named in words, words
    assert str(folder) in words, "names the folder"
    assert not validated.stdout and not served.stdout
    told = json.loads(run("validate", "--json", *arguments).stdout)
    assert told["ok"] is False and told["exit_code"] == 3 and "model refused: " + told["error"] == words


def test_validate_refuses_configurations_as_serve_does(folder):
    for arguments in (["--context", "1000000"], ["--device-cache", "1000TiB"], ["--device-cache", "4KiB"],
                      ["--context", "4096", "--device-cache", "1MiB"], ["--step-tokens", "8"],
                      ["--chat-template", "/nowhere"]):
        validated, served = (run(command, "--model", folder, "--listen", "127.0.0.1:0",
                                 *arguments) for command in ("validate", "serve"))
        assert validated.returncode == served.returncode == 2, (arguments, validated.stderr, served.stderr)
        assert validated.stderr.splitlines()[-1].removeprefix("prefixd: ") in served.stderr, arguments
        assert arguments[0][2:] in validated.stderr


def test_what_validate_derives_is_what_serve_runs_with():
    arguments = ("--device-cache", "64MiB", "--max-sequences", 8)
    plan = json.loads(run("validate", "--json", "--model", MODEL, *arguments).stdout)
    text = run("validate", "--model", MODEL, *arguments).stdout
    weights = json.loads((MODEL / "config.json").read_text())
    assert plan["architecture"]["layers"] == weights["num_hidden_layers"]
    assert plan["weights"]["bytes"] == sum(plan["weights"]["dtypes"].values())
    assert plan["weights"]["bytes"] < (MODEL / "model.safetensors").stat().st_size
    elements = weights["num_hidden_layers"] * weights["num_key_value_heads"] * weights["head_dim"]
    assert plan["kv_bytes_per_token"] == 2 * 2 * elements
    assert plan["cached_tokens"] == {"device": plan["blocks"] * plan["block_tokens"], "host": 0, "disk": 0}
    assert plan["sequences_that_fit"] == (plan["blocks"] - 1) // -(-plan["context"] // plan["block_tokens"])
    assert plan["tokenizer"]["kind"] == "byte-level BPE"
    assert plan["chat_template"]["supports_system_role"] is True
    for fact in plan.keys() - {"schema", "ok", "blocks", "block_tokens", "context_that_fits", "max_positions",
                               "warnings"}:
        assert f"\n{fact.replace('_', ' ')}:" in "\n" + text, fact
    with Daemon("--max-sequences", 8, "--log-format", "json") as daemon:
        daemon.signal()
        assert daemon.exit_code() == 0
        lines = {line["message"]: line for line in map(json.loads, filter(None, daemon.log))}
        limits = lines["limits"]
        for name in ("context", "max_sequences", "step_tokens", "step_seconds", "max_queue", "blocks",
                     "block_tokens", "kv_bytes_per_token"):
            assert limits[name] == plan[name], name
        assert limits["kv_dtype"] == plan["kv_dtype"]
        assert lines["model"]["architecture"] == plan["architecture"]["canonical"]
        assert lines["starting"]["threads"] == lines["model loaded"]["threads"] == plan["threads"]["count"]
        assert lines["starting"]["threads_source"] == plan["threads"]["source"]
        products = lines["products of bf16 weights"]
        assert {name: timeless(products[name]) for name in plan["bf16_products"]} == {
            name: timeless(value) for name, value in plan["bf16_products"].items()}
        loaded = lines["model loaded"]
        assert plan["memory"]["weight_bytes"] >= plan["weights"]["bytes"], "the rope table comes on top"
        assert f"{loaded['weights']} weights" in text
        step = plan["memory"]["activation_bytes"] + plan["memory"]["scratch_bytes"]
        assert loaded["step_memory"] == f"{step / 2**20:.1f} MiB"


def test_dummy_weights_need_no_file_of_weights(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(MODEL / name, tmp_path / name)
    assert run("validate", "--model", tmp_path).returncode == 3
    real = json.loads(run("validate", "--json", "--model", MODEL).stdout)
    plan = json.loads(run("validate", "--json", "--model", tmp_path, "--load", "dummy").stdout)
    assert (real["weights"].pop("dummy"), plan["weights"].pop("dummy")) == (False, True)
    assert plan["weights"] == real["weights"]
    assert plan["memory"]["weight_bytes"] == real["memory"]["weight_bytes"]

    # A second start finds what the first one has cached: the weights are the same ones.
    disk = ("--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB", "--disk-write-through",
            "--load-policy", "load")
    prompt, texts = "Dummies all the way down. " * 4, []
    for found in (False, True):
        with Daemon("--load", "dummy", "--served-model-name", "demo", *disk, model=tmp_path) as daemon:
            assert daemon.logged("the weights are dummies: answers have no meaning")
            wait_until(lambda: daemon.logged("the disk cache is scanned"), "the scan")
            answer = daemon.complete(prompt=prompt, max_tokens=8, ignore_eos=True)
            texts.append(answer["choices"][0]["text"])
            assert (answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0) == found
            daemon.signal()
            assert daemon.exit_code() == 0
    assert texts[0] == texts[1] != ""

    (tmp_path / "tokenizer.json").unlink()
    plan = json.loads(run("validate", "--json", "--model", tmp_path, "--load", "dummy").stdout)
    assert plan["tokenizer"]["kind"] == "one token for each byte (no tokenizer.json)"
    with Daemon("--load", "dummy", "--served-model-name", "demo", model=tmp_path) as daemon:
        answer = daemon.complete(prompt="Hi there", max_tokens=4, ignore_eos=True, return_token_ids=True)
        choice, = answer["choices"]
        assert choice["prompt_token_ids"] == list(b"Hi there")
        assert len(choice["token_ids"]) == 4
        assert all(f" t{id}" in choice["text"] for id in choice["token_ids"] if id >= 256)


def test_threads_follow_the_option_then_the_machine():
    def threads(*arguments):
        return json.loads(run("validate", "--json", "--model", MODEL, *arguments).stdout)["threads"]

    assert threads("--threads", 1500) == {"count": 1500, "source": "option threads"}
    assert threads("--threads", 3, "--backend", "ref") == {"count": 1, "source": "backend ref"}
    mine = os.sched_getaffinity(0)
    auto = threads()
    assert auto["count"] == len(mine) if auto["source"] == "CPU affinity" else auto["count"] <= len(mine)
    try:
        os.sched_setaffinity(0, {min(mine)})  # inherited by the child
        assert threads()["count"] == 1
    finally:
        os.sched_setaffinity(0, mine)


def test_a_template_that_rewrites_is_told(folder):
    assert json.loads(run("validate", "--json", "--model",
                          MODEL).stdout)["chat_template"]["append_only"] is True
    # This template drops all messages but the last.
    edit("tokenizer_config.json", chat_template="{{ messages | length }}: {{ messages[-1].content }}")(folder)
    told = json.loads(run("validate", "--json", "--model", folder).stdout)["chat_template"]
    assert told["append_only"] is False and "a cached prefix ends there" in told["rewrites"][0]
    assert told["rewrites"][0] in run("validate", "--model", folder).stdout


PARTS = ("weight_bytes", "activation_bytes", "scratch_bytes", "cache_book_bytes", "result_bytes",
         "token_bytes", "inflight_bytes", "connection_bytes", "program_bytes", "device_cache_bytes")


def memory(*arguments):
    return json.loads(run("validate", "--json", "--model", MODEL, *arguments).stdout)["memory"]


def test_the_memory_plan_has_a_line_for_each_part():
    text = run("validate", "--model", MODEL, "--device-cache", "64MiB").stdout
    lines = text[text.index("\nmemory:") + 1:text.index("\nkv bytes per token:")].splitlines()
    assert len(lines) == 1 + len(PARTS)
    sizes = [float(line.split()[0]) * 1024**("B", "KiB", "MiB").index(line.split()[1]) for line in lines[1:]]
    assert sizes == sorted(sizes, reverse=True), "the largest first"
    told = memory("--device-cache", "64MiB")
    assert set(told) == {*PARTS, "plan_bytes", "available_bytes", "total_bytes"}
    assert told["plan_bytes"] == sum(told[part] for part in PARTS)


TIER_PARTS = ("host_cache_bytes", "disk_index_bytes", "disk_buffer_bytes")


def test_the_plan_has_the_tiers(tmp_path):
    arguments = ("--model", MODEL, "--host-cache", "32MiB", "--disk-cache-dir", tmp_path / "kv",
                 "--disk-cache", "64MiB", "--disk-max-age", "2d")
    plan = json.loads(run("validate", "--json", *arguments).stdout)
    told = plan["memory"]
    assert set(told) == {*PARTS, *TIER_PARTS, "plan_bytes", "available_bytes", "total_bytes"}
    assert told["plan_bytes"] == sum(told[part] for part in (*PARTS, *TIER_PARTS))
    assert told["plan_bytes"] <= told["available_bytes"], "the automatic device cache leaves room for them"
    assert plan["cached_tokens"]["host"] * plan["kv_bytes_per_token"] == told["host_cache_bytes"]
    assert plan["cached_tokens"]["disk"] == 2**26 // plan["kv_bytes_per_token"]
    disk = plan["disk_cache"]
    assert disk["directory"] == str(tmp_path / "kv") and disk["capacity_bytes"] == 2**26
    assert disk["max_age_seconds"] == 2 * 86400 and disk["write_through"] is False
    assert not (tmp_path / "kv").exists(), "validate creates nothing"
    text = run("validate", *arguments).stdout
    assert "\ndisk cache:" in text and f"64.0 MiB in {tmp_path}/kv (option disk-cache)" in text


@pytest.mark.parametrize("option, less, more, parts", [
    ("--host-cache", "8MiB", "16MiB", {"host_cache_bytes", "cache_book_bytes"}),
    ("--disk-cache", "32MiB", "64MiB", {"disk_index_bytes", "disk_buffer_bytes"}),
])
def test_the_size_of_a_tier_changes_its_parts(tmp_path, option, less, more, parts):
    other = ("--disk-cache", "64MiB") if option == "--host-cache" else ("--host-cache", "8MiB")
    rest = ("--device-cache", "64MiB", "--disk-cache-dir", tmp_path / "kv", *other)
    small, large = memory(option, less, *rest), memory(option, more, *rest)
    assert {part for part in (*PARTS, *TIER_PARTS) if large[part] > small[part]} - {"program_bytes"} == parts


# The parts that each option makes larger. The program is measured, so its size varies a little.
@pytest.mark.parametrize("option, less, more, parts", [
    ("--device-cache", "64MiB", "65MiB", {"device_cache_bytes", "cache_book_bytes"}),
    ("--context", 1024, 2048, {"weight_bytes", "scratch_bytes", "token_bytes"}),
    ("--step-tokens", 512, 1024, {"activation_bytes", "scratch_bytes"}),
    ("--max-logprobs", 20, 200, {"result_bytes"}),
    ("--max-tokens-in-flight", 10000, 20000, {"token_bytes"}),
    ("--max-connections", 1000, 2000, {"connection_bytes"}),
    ("--max-inflight", "100MiB", "200MiB", {"inflight_bytes"}),
])
def test_options_change_their_parts_of_the_memory_plan(option, less, more, parts):
    rest = () if option == "--device-cache" else ("--device-cache", "64MiB")
    small, large = memory(option, less, *rest), memory(option, more, *rest)
    grown = {part for part in PARTS if large[part] > small[part]} - {"program_bytes"}
    assert grown <= parts and {part for part in parts if part != "scratch_bytes"} <= grown


def test_the_probe_tells_prefill_and_reuse():
    told = json.loads(run("validate", "--json", "--model", MODEL, "--device-cache", "64MiB").stdout)
    prefill, reuse = told["prefill"], told["reuse"]
    assert prefill["flops_per_second"] == pytest.approx(prefill["tokens_per_second"] * 2 * told["parameters"])
    assert reuse["context"] == told["context"]
    assert reuse["compute_seconds"] == pytest.approx(told["context"] / prefill["tokens_per_second"])
    copied = told["context"] * told["kv_bytes_per_token"]
    assert reuse["host_copy_seconds"] == pytest.approx(copied / reuse["host_copy_bytes_per_second"])


def test_a_plan_above_the_free_memory_is_told_and_one_above_the_total_is_refused():
    known = memory("--device-cache", "1GiB")
    per_byte = 1 + known["cache_book_bytes"] / known["device_cache_bytes"]
    others = known["plan_bytes"] - known["cache_book_bytes"] - known["device_cache_bytes"]

    def cache_for(plan_bytes):
        return int((plan_bytes - others) / per_byte)

    tight = run("validate", "--json", "--model", MODEL, "--device-cache",
                cache_for(0.99 * known["total_bytes"]))
    assert tight.returncode == 0 and "free now" in tight.stderr
    assert "free now" in json.loads(tight.stdout)["warnings"][0]
    for command in ("validate", "serve"):
        refused = run(command, "--model", MODEL, "--device-cache", cache_for(1.01 * known["total_bytes"]))
        assert refused.returncode == 2 and "may ever have" in refused.stderr
        assert re.search(r"device cache [\d.]+ GiB \(device-cache, context\), cache books", refused.stderr)
