"""What a miss is explained by after a restart over the same disk cache with something changed: another model,
the same model in another form, or another chat template."""

import json

import pytest

from daemon import Daemon, wait_until
from tier_strangers_test import SCANNED, other_model, stop  # noqa: F401: a fixture
from tiers_test import BLOCK, CONTEXT, wait_until_spilled

KEYS = {"alice": "sk-alice-0123456789", "bob": "sk-bob-0123456789ab"}
PROMPT, NEW = [7] * 100, [8] * 100
WHOLE = 100 // BLOCK * BLOCK
TALK = [{"role": "system", "content": "You answer in few words, and you never say more than you are asked."},
        {"role": "user", "content": "Which port does the cache use when nothing else is said?"}]


@pytest.fixture
def options(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\n".join(KEYS.values()) + "\n")
    return ("--context", CONTEXT, "--api-keys", keys, "--disk-cache-dir", tmp_path / "kv",
            "--disk-cache", "64MiB", "--disk-write-through", "--load-policy", "load")


def post(daemon, path, who, **fields):
    """Returns the explanation of the answer."""
    headers = {"x-api-key": KEYS[who]}
    status, _, text = daemon.request("POST", path, {"model": "demo", "max_tokens": 1, **fields}, headers)
    assert status == 200, text
    return daemon.request("GET", f"/v1/cache/explain?response_id={json.loads(text)['id']}",
                          headers=headers)[2]


def complete(daemon, who, prompt, **fields):
    return json.loads(post(daemon, "/v1/completions", who, prompt=prompt, **fields))


def fill(options, ask, **how):
    with Daemon(*options, **how) as daemon:
        ask(daemon)
        wait_until(lambda: daemon.metrics()["prefixd_blocks", (("state", "cached"), ("tier", "disk"))] > 0,
                   "records")
        wait_until_spilled(daemon)
        stop(daemon)


def started(options, **how):
    daemon = Daemon(*options, **how)
    wait_until(lambda: daemon.logged(SCANNED), "the scan")
    return daemon


CHANGES = {"kv-dtype": ("--kv-dtype", "f16"), "quantize": ("--quantize", "q8_0"),
           "activations": ("--activations", "f32"), "block-tokens": ("--block-tokens", "32"), "model": ()}


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_model_had_says_so(options, change, request):
    fill(options, lambda daemon: complete(daemon, "alice", PROMPT))
    block = 32 if change == "block-tokens" else BLOCK
    whole = 100 // block * block
    how = {"model": request.getfixturevalue("other_model")} if change == "model" else {}
    with started((*options, *CHANGES[change]), **how) as daemon:
        assert complete(daemon, "alice", NEW)["first_miss"]["reason"] == "never_seen"
        for who, fields in (("bob", {}), ("alice", {"cache_salt": "s"}), ("bob", {"cache_scope": "public"})):
            told = complete(daemon, who, PROMPT, **fields)
            assert told["miss_tokens"] == {"never_seen": whole, "block_tail": 100 - whole}, (who, told)
            assert "model" not in told["explanation"], told
        told = complete(daemon, "alice", PROMPT)
        assert told["cached_tokens"] == 0
        assert told["miss_tokens"] == {"other_model": whole, "block_tail": 100 - whole}, told
        assert told["first_miss"]["reason"] == "other_model"
        assert "another model" in told["explanation"]
        longer = complete(daemon, "alice", [*PROMPT[:50], *NEW])
        assert longer["cached_tokens"] > 0 and "other_model" not in longer["miss_tokens"], "computed by now"
        counted = {dict(labels)["reason"]: value for (name, labels), value in daemon.metrics().items()
                   if name == "prefixd_cache_miss_tokens_total"}
        assert counted["other_model"] == whole
        stop(daemon)
    with started(options) as daemon:  # as it was
        assert complete(daemon, "alice", PROMPT)["cached_tokens"] >= WHOLE
        stop(daemon)


def test_a_prompt_is_the_other_models_as_far_as_it_had_it(options):
    fill(options, lambda daemon: complete(daemon, "alice", PROMPT[:40]))
    with started((*options, "--kv-dtype", "f16")) as daemon:
        told = complete(daemon, "alice", PROMPT)
        assert told["miss_tokens"] == {"other_model": 32, "never_seen": WHOLE - 32, "block_tail": 100 - WHOLE}
        stop(daemon)


def chat(daemon, messages):
    return json.loads(post(daemon, "/v1/chat/completions", "alice", messages=messages))


TEMPLATE = ("{{- bos_token }}{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + "
            "message['content'] + '<|im_end|>END' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")


def test_a_changed_chat_template_says_so(options, tmp_path):
    """The first message is found, up to the block in which the template begins to write otherwise."""
    fill(options, lambda daemon: chat(daemon, TALK))
    file = tmp_path / "chat.jinja"
    file.write_text(TEMPLATE.replace("END", "\\n\\n"))
    changed = (*options, "--chat-template", file)
    with started(changed) as daemon:
        told = chat(daemon, TALK)
        miss = told["first_miss"]
        assert miss["reason"] == "never_seen" and told["cached_tokens"] > 0
        assert miss["message"] == 0 and miss["character"] is not None, "it left the cache near the end of it"
        assert told["template_changed"] > 0
        assert "another chat template" in told["explanation"]
        answered = [*TALK, {"role": "assistant", "content": "8080"}, {"role": "user", "content": "Why?"}]
        told = chat(daemon, answered)
        assert told["template_changed"] is None, "this template wrote the conversation before"
        assert complete(daemon, "alice", NEW)["template_changed"] is None, "no chat"
        stop(daemon)
    with started(changed) as daemon:
        told = chat(daemon, [{"role": "user", "content": "Something new. " * 20}])
        assert told["template_changed"] is None and told["first_miss"]["reason"] == "never_seen", told
        stop(daemon)
    with started(options) as daemon:  # back again: what was computed under it is found
        told = chat(daemon, TALK)
        assert told["first_miss"]["reason"] == "block_tail" and told["template_changed"] is None, told
        stop(daemon)
