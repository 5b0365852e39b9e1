"""What tenants are guaranteed of the cache: a flood evicts none of it. Shares change by SIGHUP."""

import json
import random

import pytest

from daemon import Daemon, reloaded, wait_until
from keys_test import hash_key, reload

ALICE, BOB = "sk-alice-0123456789abcdef", "sk-bob-0123456789abcdefgh"
ADMIN = "sk-admin-0123456789abcdef"
TOKENS = 161  # ten blocks, and a token


def prompt(seed, tokens=TOKENS):
    draw = random.Random(seed)
    return [draw.randrange(3, 1900) for _ in range(tokens)]


def ask(daemon, key, tokens, **fields):
    """Returns how many tokens were cached."""
    code, _, text = daemon.request("POST", "/v1/completions", {"prompt": tokens, "max_tokens": 1, **fields},
                                   {"x-api-key": key})
    assert code == 200, text
    return json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]


def cache_bytes(daemon, tier="device"):
    text = daemon.request("GET", "/metrics", headers={"x-api-key": ADMIN})[2]
    values = [line.split()[-1] for line in text.splitlines()
              if line.startswith(f'prefixd_tenant_cache_bytes{{tenant="alice",tier="{tier}"}}')]
    return int(float(values[0])) if values else None


class Keys:
    def __init__(self, folder):
        self.path = folder / "keys"

    def write(self, *fields):
        fixed = hash_key("--tenant", "bob", key=BOB).stdout + hash_key("--rights", "admin", key=ADMIN).stdout
        self.path.write_text(fixed + hash_key("--tenant", "alice", *fields, key=ALICE).stdout)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


def block_bytes(daemon):
    lines = daemon.get("/metrics")[2].splitlines()
    info = [line for line in lines if line.startswith("vllm:cache_config_info")]
    blocks = int(info[0].split('num_gpu_blocks="')[1].split('"')[0])
    return daemon.memory_plan()["device_cache_bytes"] // blocks, blocks


def test_a_flood_evicts_nothing_that_is_guaranteed(keys):
    keys.write()
    small = ("--context", 512, "--host-cache", "4MiB")
    with Daemon("--api-keys", keys.path, *small, device_cache="4MiB") as daemon:
        block, blocks = block_bytes(daemon)
        floods = blocks // 20 + 2

        def flood(begin):
            for seed in range(floods):
                ask(daemon, BOB, prompt(begin + seed, 400))
        ask(daemon, ALICE, prompt(1))
        assert ask(daemon, ALICE, prompt(1)) == 160
        flood(1000)
        assert cache_bytes(daemon) is None, "alice has no limit of the cache"
        keys.write("--guaranteed-device-cache", str(20 * block), "--guaranteed-host-cache", str(20 * block))
        reload(daemon, reloaded("api-keys"))
        for seed in (1, 2):
            ask(daemon, ALICE, prompt(seed), **({"cache_salt": "x"} if seed == 2 else {}))
        before = cache_bytes(daemon)
        assert before == 20 * block
        flood(2000)
        flood(3000)
        assert cache_bytes(daemon) == before
        assert ask(daemon, ALICE, prompt(1)) == 160
        assert ask(daemon, ALICE, prompt(2), cache_salt="x") == 160

        keys.write("--guaranteed-device-cache", str(blocks * block))
        reload(daemon, "reload refused; nothing has changed")
        assert any("guaranteed-device-cache of all tenants is" in (line or "") for line in daemon.log)
        assert json.loads(daemon.get("/ready")[2])["checks"]["configuration"].startswith("failed: ")
        flood(4000)
        assert ask(daemon, ALICE, prompt(1)) == 160, "the shares of before stay"

        keys.write("--max-device-cache", str(4 * block))
        reload(daemon, reloaded("api-keys"))
        assert ask(daemon, ALICE, prompt(7)) == 0
        assert cache_bytes(daemon) == 4 * block


def test_a_flood_evicts_nothing_of_the_disk_that_is_guaranteed(keys, tmp_path):
    """Each process evicts twice what the disk holds, the second one without a scan by a client before."""
    disk = ("--context", 512, "--disk-cache-dir", tmp_path / "disk", "--disk-cache", "8MiB",
            "--disk-write-through", "--load-policy", "load")

    def start():
        return Daemon("--api-keys", keys.path, *disk, device_cache="1MiB")

    def values(daemon, name, **labels):
        text = daemon.request("GET", "/metrics", headers={"x-api-key": ADMIN})[2]
        of_name = [line for line in text.splitlines() if line.startswith(name + "{")]
        return sum(float(line.split()[-1]) for line in of_name
                   if all(f'{label}="{value}"' in line for label, value in labels.items()))

    def flood(daemon, seed):
        for number in range(300):
            for more in range(10):
                ask(daemon, BOB, prompt(seed + 10 * number + more, 320))
            evicted = values(daemon, "prefixd_tier_evictions_total", tier="disk")
            if evicted > 2 * values(daemon, "prefixd_blocks", tier="disk", state="cached") > 0:
                return
        raise AssertionError("the disk does not fill")

    keys.write("--guaranteed-disk-cache", "2MiB")
    with start() as daemon:
        ask(daemon, ALICE, prompt(1))
        ask(daemon, ALICE, prompt(2), cache_salt="x")
        wait_until(lambda: cache_bytes(daemon, "disk") > 0, "records")
        flood(daemon, 10_000)
        before = cache_bytes(daemon, "disk")
        assert 0 < before < 2 << 20
        assert ask(daemon, ALICE, prompt(1)) == 160
    with start() as daemon:
        wait_until(lambda: cache_bytes(daemon, "disk") == before, "the scan")
        flood(daemon, 20_000)
        assert cache_bytes(daemon, "disk") == before
        assert ask(daemon, ALICE, prompt(1)) == 160
        assert ask(daemon, ALICE, prompt(2), cache_salt="x") == 160

        keys.write("--max-disk-cache", str(before // 4))
        reload(daemon, reloaded("api-keys"))
        wait_until(lambda: 0 < cache_bytes(daemon, "disk") <= before // 4, "a tenant within its limit")
        keys.write("--guaranteed-disk-cache", "5MiB")
        reload(daemon, "reload refused; nothing has changed")
        assert any("guaranteed-disk-cache of all tenants is 5.0 MiB, and at most 4.0 MiB" in (line or "")
                   for line in daemon.log)


def test_guarantees_that_the_cache_cannot_give_refuse_the_start(keys):
    keys.write("--guaranteed-device-cache", "64MiB")
    daemon = Daemon("--api-keys", keys.path, wait=False)
    assert daemon.exit_code() == 2
    assert daemon.logged("guaranteed-device-cache of all tenants is 64.0 MiB, and at most ")
    keys.write("--guaranteed-host-cache", "1MiB")
    daemon = Daemon("--api-keys", keys.path, wait=False)
    assert daemon.exit_code() == 2 and daemon.logged("enlarge host-cache")
