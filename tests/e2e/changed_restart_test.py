"""What a miss is explained by after a restart over the same disk cache with something changed: another model,
the same model in another form, or another chat template."""

import json

import pytest

from daemon import Daemon, wait_until
from tier_strangers_test import SCANNED, other_model, stop  # noqa: F401: a fixture
from tiers_test import BLOCK, CONTEXT, wait_until_spilled

KEYS = {"alice": "sk-alice-0123456789", "bob": "sk-bob-0123456789ab"}
NEW = [8] * 100
WHOLE = 100 // BLOCK * BLOCK
TALK = [{"role": "system", "content": "You answer in few words, and you never say more than you are asked."},
        {"role": "user", "content": "Which port does the cache use when nothing else is said?"}]


def options_in(folder):
    keys = folder / "keys"
    keys.write_text("\n".join(KEYS.values()) + "\n")
    return ("--context", CONTEXT, "--api-keys", keys, "--disk-cache-dir", folder / "kv",
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


# Each test has a prompt of its own, because all are over the same disk cache, and another that nobody sends.
PROMPTS = {change: [20 + i] * 100 for i, change in enumerate(CHANGES)}
NEW_PROMPTS = {change: [40 + i] * 100 for i, change in enumerate(CHANGES)}
SHORT = [60] * 100  # of which alice has sent 40


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The options of a daemon over a disk cache with what alice has sent before anything changed."""
    options = options_in(tmp_path_factory.mktemp("filled"))

    def send(daemon):
        for prompt in (*PROMPTS.values(), SHORT[:40]):
            complete(daemon, "alice", prompt)
    fill(options, send)
    return options


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_model_had_says_so(filled, change, request):
    prompt, new = PROMPTS[change], NEW_PROMPTS[change]
    block = 32 if change == "block-tokens" else BLOCK
    whole = 100 // block * block
    how = {"model": request.getfixturevalue("other_model")} if change == "model" else {}
    with started((*filled, *CHANGES[change]), **how) as daemon:
        assert complete(daemon, "alice", new)["first_miss"]["reason"] == "never_seen"
        for who, fields in (("bob", {}), ("alice", {"cache_salt": "s"}), ("bob", {"cache_scope": "public"})):
            told = complete(daemon, who, prompt, **fields)
            assert told["miss_tokens"] == {"never_seen": whole, "block_tail": 100 - whole}, (who, told)
            assert "model" not in told["explanation"], told
        told = complete(daemon, "alice", prompt)
        assert told["cached_tokens"] == 0
        assert told["miss_tokens"] == {"other_model": whole, "block_tail": 100 - whole}, told
        assert told["first_miss"]["reason"] == "other_model"
        assert "another model" in told["explanation"]
        longer = complete(daemon, "alice", [*prompt[:50], *new])
        assert longer["cached_tokens"] > 0 and "other_model" not in longer["miss_tokens"], "computed by now"
        counted = {dict(labels)["reason"]: value for (name, labels), value in daemon.metrics().items()
                   if name == "prefixd_cache_miss_tokens_total"}
        assert counted["other_model"] == whole
        stop(daemon)


def test_a_prompt_is_the_other_models_as_far_as_it_had_it(filled):
    with started((*filled, "--kv-dtype", "f16")) as daemon:
        told = complete(daemon, "alice", SHORT)
        assert told["miss_tokens"] == {"other_model": 32, "never_seen": WHOLE - 32, "block_tail": 100 - WHOLE}
        stop(daemon)


def test_what_it_had_is_there_when_it_is_as_it_was(filled):
    with started(filled) as daemon:
        for prompt in PROMPTS.values():
            assert complete(daemon, "alice", prompt)["cached_tokens"] >= WHOLE, prompt[0]
        stop(daemon)


def chat(daemon, messages):
    return json.loads(post(daemon, "/v1/chat/completions", "alice", messages=messages))


TEMPLATE = ("{{- bos_token }}{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + "
            "message['content'] + '<|im_end|>END' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")


def test_a_changed_chat_template_says_so(tmp_path):
    """The first message is found, up to the block in which the template begins to write otherwise."""
    options = options_in(tmp_path)
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
