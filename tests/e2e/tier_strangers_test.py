"""What a disk cache holds of others: another tenant, another model, and more prompts than the tiers can keep.
None of it may show in an answer, be found by the wrong one, or stay in memory.
"""

import json
import shutil

import pytest
from bounded_memory_test import memory
from daemon import MODEL, Daemon, wait_until
from tiers_test import (BLOCK, CONTEXT, SMALL_POOL, ask, check_at_rest, prompt, tokens_from, wait_until_put,
                        wait_until_spilled)

WHOLE = 320 - BLOCK  # of a prompt, so much is reused at least when its blocks are there
SCANNED = "the disk cache is scanned"


def bare_answers(seeds, model=MODEL):
    with Daemon("--context", CONTEXT, "--no-prefix-cache", model=model) as daemon:
        return [ask(daemon, prompt(seed))[0] for seed in range(seeds)]


def stop(daemon):
    daemon.signal()
    assert daemon.exit_code() == 0


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_tenants_do_not_meet_in_the_disk_cache(tmp_path, end):
    bare = bare_answers(2)
    own = {"a": 0, "b": 1}  # the prompt of each tenant
    options = ["--context", CONTEXT, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB",
               "--disk-write-through", "--load-policy", "load"]
    with Daemon(*options) as daemon:
        for salt, seed in own.items():
            assert ask(daemon, prompt(seed), cache_salt=salt) == (bare[seed], 0)
        wait_until_put(daemon, 2)
        wait_until_spilled(daemon)
        if end == "SIGTERM":
            stop(daemon)
        else:
            daemon.process.kill()
            daemon.process.wait()
    with Daemon(*options) as daemon:
        wait_until(lambda: daemon.logged(SCANNED), "the scan")
        for salt, seed in (("b", 0), ("a", 1)):
            assert ask(daemon, prompt(seed), cache_salt=salt) == (bare[seed], 0), (salt, seed)
        for seed in own.values():
            assert ask(daemon, prompt(seed)) == (bare[seed], 0), seed
        assert tokens_from(daemon, "disk") == 0
        for salt, seed in own.items():
            said, cached = ask(daemon, prompt(seed), cache_salt=salt)
            assert said == bare[seed] and cached >= WHOLE, salt
        assert tokens_from(daemon, "disk") >= 2 * WHOLE
        check_at_rest(daemon)


@pytest.fixture
def other_model(tmp_path):
    """The demo model with other weights in one tensor: the same tokens have other KV."""
    folder = tmp_path / "other" / "demo"
    folder.mkdir(parents=True)
    for path in MODEL.glob("*.json"):
        shutil.copy(path, folder)
    data = bytearray((MODEL / "model.safetensors").read_bytes())
    header_bytes = int.from_bytes(data[:8], "little")
    tensor = json.loads(data[8:8 + header_bytes])["model.layers.0.self_attn.v_proj.weight"]
    assert tensor["dtype"] in ("BF16", "F16")
    begin, end = (8 + header_bytes + offset for offset in tensor["data_offsets"])
    for at in range(begin + 1, end, 2):
        data[at] ^= 0x80  # the sign
    (folder / "model.safetensors").write_bytes(data)
    return folder


def test_models_do_not_meet_in_the_disk_cache(tmp_path, other_model):
    bare = {model: bare_answers(3, model) for model in (MODEL, other_model)}
    assert all(one != other for one, other in zip(*bare.values()))
    options = ["--context", CONTEXT, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB",
               "--disk-write-through", "--load-policy", "load"]
    for visit in range(2):
        for model, answers in bare.items():
            with Daemon(*options, model=model) as daemon:
                wait_until(lambda: daemon.logged(SCANNED), "the scan")
                for seed, answer in enumerate(answers):
                    said, cached = ask(daemon, prompt(seed))
                    assert said == answer, (visit, model, seed)
                    assert cached >= WHOLE if visit else cached == 0, (visit, model, seed)
                assert bool(tokens_from(daemon, "disk")) == bool(visit)
                check_at_rest(daemon)
                stop(daemon)


def test_many_prompts_leave_the_memory_as_it_was(tmp_path):
    """More prompts than all tiers hold, some of them again and again."""
    options = ["--context", CONTEXT, "--host-cache", "1MiB", "--disk-cache-dir", tmp_path / "kv",
               "--disk-cache", "8MiB", "--disk-write-through", "--load-policy", "load"]
    with Daemon(*options, device_cache=SMALL_POOL) as daemon:
        resident = []
        for number in range(300):
            ask(daemon, prompt(number % 7 if number % 2 else number))
            if number in (149, 299):
                resident.append(memory(daemon, "VmRSS"))
        metrics = daemon.metrics()
        assert metrics["prefixd_tier_evictions_total", (("tier", "disk"),)] > 0
        assert tokens_from(daemon, "host") + tokens_from(daemon, "disk") > 20 * WHOLE
        check_at_rest(daemon)
    print(f"resident {resident[0] >> 10} KiB after 150 requests, {resident[1] >> 10} KiB after 300")
    assert resident[1] <= 1.1 * resident[0]
