"""What tenants of one daemon see of each other's prompts: nothing.

PREFIXD_TENANT_PROMPTS=500 asks with as many prompts that another tenant has cached.
"""

import json
import os
import random

import pytest

from daemon import Daemon

PROMPTS = int(os.environ.get("PREFIXD_TENANT_PROMPTS", "12"))
KEYS = {"alice": "sk-alice-0123456789", "bob": "sk-bob-0123456789ab"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("\n".join(KEYS.values()) + "\n")
    with Daemon("--api-keys", keys, "--no-prefix-cache") as cold, Daemon("--api-keys", keys) as started:
        started.cold = cold
        yield started


def ask(daemon, tenant, prompt, **fields):
    """Returns (token ids, cached tokens, computed tokens, source)."""
    body = {"model": "demo", "prompt": prompt, "max_tokens": 4, "temperature": 0, "return_token_ids": True,
            **fields}
    code, headers, text = daemon.request("POST", "/v1/completions", body, {"x-api-key": KEYS[tenant]})
    assert code == 200, text
    return (json.loads(text)["choices"][0]["token_ids"], int(headers["x-prefixd-cached-tokens"]),
            int(headers["x-prefixd-computed-tokens"]), headers["x-prefixd-cache-source"])


def prompts(seed):
    """Prompts without a first token in common, so that a tenant finds none of its own earlier ones."""
    draw = random.Random(seed)
    for first in draw.sample(range(3, 1000), PROMPTS):
        yield [first, *(draw.randrange(3, 1000) for _ in range(draw.randrange(20, 120)))]


def test_a_prompt_that_another_tenant_cached_is_as_cold_as_without_a_cache(daemon):
    for number, prompt in enumerate(prompts(1)):
        first, second = ("alice", "bob") if number % 2 else ("bob", "alice")
        cold = ask(daemon.cold, first, prompt)
        assert cold[1:3] == (0, len(prompt))
        assert ask(daemon, first, prompt) == cold
        again = ask(daemon, first, prompt)
        cached = (len(prompt) - 1) // 16 * 16
        assert again[1] >= cached > 0 and again[0] == cold[0], "it is in the cache of its tenant"
        assert ask(daemon, second, prompt) == cold, number


def test_public_prompts_hit_for_all_who_ask_for_them(daemon):
    prompt = list(range(3, 103))
    cold = ask(daemon.cold, "alice", prompt)
    assert ask(daemon, "alice", prompt, cache_scope="public") == cold
    assert ask(daemon, "bob", prompt) == cold, "it did not ask for them"
    shared = ask(daemon, "bob", prompt, cache_scope="public")
    assert shared[0] == cold[0] and shared[1:3] == (96, 4), shared
    assert ask(daemon, "bob", prompt, cache_scope="public", cache_salt="s") == cold
    assert ask(daemon, "alice", prompt) == cold, "what is public is not in the tenant's own namespace"


def test_operators_alone_are_told_of_another_tenant(daemon):
    """As the reason of a miss, in tokens of full blocks. Callers without a key see what was never seen."""
    def misses(key=None):
        from prometheus_client.parser import text_string_to_metric_families
        text = daemon.request("GET", "/metrics", headers={"x-api-key": key} if key else {})[2]
        return {sample.labels["reason"]: sample.value for family in text_string_to_metric_families(text)
                for sample in family.samples if sample.name == "prefixd_cache_miss_tokens_total"}
    prompt = list(range(1103, 1203))
    assert ask(daemon, "alice", prompt)[1] == 0
    before, shown = misses(KEYS["bob"]), misses()
    assert ask(daemon, "bob", prompt)[1] == 0
    after, shown_after = misses(KEYS["bob"]), misses()
    grown = {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}
    assert grown == {"other_tenant": 96, "block_tail": 4}
    grown = {reason: shown_after[reason] - shown[reason] for reason in shown
             if shown_after[reason] != shown[reason]}
    assert grown == {"never_seen": 96, "block_tail": 4} and shown_after["other_tenant"] == 0


def test_tenants_on_disk_are_apart_after_a_restart(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\n".join(KEYS.values()) + "\n")
    options = ["--api-keys", keys, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB",
               "--disk-write-through", "--load-policy", "load"]
    prompt = list(range(3, 103))
    with Daemon(*options) as daemon:
        assert ask(daemon, "alice", prompt)[1] == 0
        daemon.signal()
        assert daemon.exit_code() == 0
    with Daemon(*options) as daemon:
        assert ask(daemon, "bob", prompt)[1] == 0
        assert ask(daemon, "alice", prompt)[1] > 0
