"""The tiers below the device cache, from outside: what an answer says and costs must not depend on the tier
from which its prefix came, on compression, or on a restart in between.

Answers are compared with those of a daemon that reuses nothing, as token ids and log probabilities, which are
printed so that their bits can be read back.
"""

import json
import random
import time

import pytest
from daemon import MODEL, ROOT, Daemon, run, wait_until

CONTEXT = 512
BLOCK = 16
FAULTY = ROOT / "build/release/prefixd_fault"
LOAD = ["--load-policy", "load"]  # whatever this machine is doing meanwhile
SMALL_POOL = "1MiB"  # about a context of the demo model in bf16, so that prompts evict each other


def backends():
    """Those of the CPU, which compute the same bits."""
    listed = json.loads(run("version", "--json").stdout)["backends"]
    return [backend["name"] for backend in listed if backend["runs_here"] and backend["name"] != "cuda"]


def prompt(seed, tokens=320):
    draw = random.Random(seed)
    return [draw.randrange(1, 2000) for _ in range(tokens)]


def ask(daemon, ids, **fields):
    """Returns what the answer says, and how many tokens of the prompt were reused."""
    answer = daemon.complete(prompt=ids, max_tokens=4, temperature=0, logprobs=3, ignore_eos=True,
                             return_token_ids=True, **fields)
    choice = answer["choices"][0]
    said = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
    return said, answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def tokens_from(daemon, source):
    return daemon.metrics()["prefixd_prompt_tokens_total", (("source", source),)]


def wait_until_spilled(daemon):
    """Until nothing waits for the disk. What was put is durable within two seconds, or when it is sealed."""
    wait_until(lambda: daemon.metrics()["prefixd_spill_pending_bytes", ()] == 0, "durable records")


def wait_until_put(daemon, prompts):
    """Until the disk has every block of so many prompts: a pool that is full again earlier loses some."""
    blocks = "prefixd_blocks", (("state", "cached"), ("tier", "disk"))
    wait_until(lambda: daemon.metrics()[blocks] >= prompts * 320 / BLOCK, f"records of {prompts} prompts")


def check_at_rest(daemon):
    def leased():
        return sum(value for (name, labels), value in daemon.metrics().items()
                   if name == "prefixd_blocks" and ("state", "leased") in labels)
    wait_until(lambda: leased() == 0, "no leased block")


@pytest.fixture(scope="module")
def bare_answers():
    """The answers without reuse, by kv dtype and form of the weights, to as many prompts as somebody asks."""
    known = {}

    def of(dtype, seed, weights="none"):
        if (dtype, weights, seed) not in known:
            form = "--kv-dtype", dtype, "--quantize", weights
            with Daemon("--context", CONTEXT, "--no-prefix-cache", *form) as daemon:
                for each in range(8):
                    known[dtype, weights, each] = ask(daemon, prompt(each))[0]
        return known[dtype, weights, seed]
    return of


@pytest.mark.parametrize("dtype, weights", [("f32", "none"), ("f16", "none"), ("bf16", "none"),
                                            ("bf16", "q4_0"), ("q8_0", "none"), ("q8_0", "q8_0")])
@pytest.mark.parametrize("compression", ["on", "off"])
def test_an_answer_does_not_depend_on_the_tier(tmp_path, bare_answers, dtype, weights, compression):
    pool = {"f32": "2MiB"}.get(dtype, SMALL_POOL)
    disk = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB", "--disk-compression", compression]
    options = ["--context", CONTEXT, "--kv-dtype", dtype, "--quantize", weights, *disk]
    with Daemon(*options, *LOAD, "--disk-write-through", device_cache=pool) as daemon:
        for _ in range(2):
            for seed in range(8):
                assert ask(daemon, prompt(seed))[0] == bare_answers(dtype, seed, weights), seed
                wait_until_put(daemon, seed + 1)
            wait_until_spilled(daemon)
        assert tokens_from(daemon, "disk") > 0
        check_at_rest(daemon)
        daemon.signal()
        assert daemon.exit_code() == 0
    for backend in backends():
        with Daemon(*options, *LOAD, "--backend", backend, device_cache=pool) as daemon:
            for seed in range(3 if backend == "ref" else 8):
                said, cached = ask(daemon, prompt(seed))
                assert said == bare_answers(dtype, seed, weights), (backend, seed)
                assert cached >= 320 - BLOCK, (backend, seed)
            assert tokens_from(daemon, "disk") > 0
            assert daemon.metrics()["prefixd_tier_read_bytes_total", (("tier", "disk"),)] > 0


def test_the_host_tier_serves_what_the_pool_has_lost(bare_answers):
    with Daemon("--context", CONTEXT, "--host-cache", "8MiB", *LOAD, device_cache=SMALL_POOL) as daemon:
        for _ in range(2):
            for seed in range(8):
                assert ask(daemon, prompt(seed))[0] == bare_answers("bf16", seed), seed
        assert tokens_from(daemon, "host") >= 6 * (320 - BLOCK)
        check_at_rest(daemon)


@pytest.mark.parametrize("host", ["0", "256KiB"])
def test_a_prefix_larger_than_the_host_tier_comes_from_disk(tmp_path, bare_answers, host):
    """A block of the demo model in bf16 has 28 KiB; the prompt has 20 of them, three times the host tier."""
    disk = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB", "--disk-write-through"]
    with Daemon("--context", CONTEXT, "--host-cache", host, *disk, *LOAD, device_cache=SMALL_POOL) as daemon:
        for seed in range(8):
            ask(daemon, prompt(seed))
            wait_until_put(daemon, seed + 1)
        said, cached = ask(daemon, prompt(0))
        assert said == bare_answers("bf16", 0)
        assert cached >= 320 - BLOCK
        check_at_rest(daemon)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_a_restart_finds_what_was_sent_twice(tmp_path, bare_answers, end):
    options = ["--context", CONTEXT, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB", *LOAD]
    with Daemon(*options) as daemon:
        for seed in (0, 0, 1):
            ask(daemon, prompt(seed))
        wait_until_spilled(daemon)
        written = daemon.metrics()["prefixd_tier_written_bytes_total", (("tier", "disk"),)]
        assert written > 0
        if end == "SIGTERM":
            daemon.signal()
            assert daemon.exit_code() == 0
        else:
            daemon.process.kill()
            daemon.process.wait()
    with Daemon(*options) as daemon:
        said, cached = ask(daemon, prompt(0))
        assert said == bare_answers("bf16", 0)
        assert cached >= 320 - BLOCK
        said, cached = ask(daemon, prompt(1))  # sent once: it is written at a clean end alone
        assert said == bare_answers("bf16", 1)
        assert cached >= 320 - BLOCK if end == "SIGTERM" else cached == 0


def test_an_answer_does_not_depend_on_what_is_loaded(tmp_path):
    """A disk of every speed: all of a prefix is loaded, or the end of it, or nothing."""
    prompts = [prompt(seed, 1920) for seed in range(4)]
    speed = tmp_path / "speed"
    options = ["--context", 2048, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB"]
    with Daemon("--context", 2048, "--no-prefix-cache") as daemon:
        bare = [ask(daemon, ids)[0] for ids in prompts]
    with Daemon(*options, "--disk-write-through") as daemon:
        for ids in prompts:
            ask(daemon, ids)
        wait_until_spilled(daemon)
        daemon.signal()
        assert daemon.exit_code() == 0
    decided = dict.fromkeys(("load", "recompute", "split", "overtaken"), 0)
    for rate in (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000, 1_000_000_000):
        speed.write_text(f"{rate} 0 0\n", encoding="utf-8")
        with Daemon(*options, program=FAULTY, environment={"DISK_SPEED": str(speed)}) as daemon:
            for number, ids in enumerate(prompts):
                assert ask(daemon, ids)[0] == bare[number], (rate, number)
            for name in decided:
                decided[name] += daemon.metrics()[
                    "prefixd_load_decisions_total", (("decision", name), ("tier", "disk"))]
            check_at_rest(daemon)
    assert decided["load"] > 0 and decided["overtaken"] > 0, decided
    assert decided["split"] + decided["recompute"] > 0, decided


def test_a_record_older_than_the_limit_is_not_used(tmp_path, bare_answers):
    options = ["--context", CONTEXT, "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB"]
    with Daemon(*options, "--disk-write-through") as daemon:
        ask(daemon, prompt(0))
        daemon.signal()
        assert daemon.exit_code() == 0
    time.sleep(2)
    with Daemon(*options, "--disk-max-age", "1s") as daemon:
        wait_until(lambda: daemon.logged("the disk cache is scanned"), "the scan")
        assert ask(daemon, prompt(0)) == (bare_answers("bf16", 0), 0)
        expired = "prefixd_cache_miss_tokens_total", (("reason", "expired"),)
        assert daemon.metrics()[expired] >= 320 - BLOCK


def test_the_wear_filter_writes_what_is_used_twice(tmp_path):
    """Half of the prompts are sent once."""
    written = {}
    for name, flags in (("filter", []), ("all", ["--disk-write-through"])):
        with Daemon("--context", CONTEXT, "--disk-cache-dir", tmp_path / name, "--disk-cache", "64MiB",
                    *flags) as daemon:
            for seed in (0, 1, 0, 2, 3, 2):
                ask(daemon, prompt(seed))
            wait_until_spilled(daemon)
            written[name] = daemon.metrics()["prefixd_tier_written_bytes_total", (("tier", "disk"),)]
    assert 0.4 * written["all"] < written["filter"] < 0.6 * written["all"], written


def test_options_that_contradict_each_other(tmp_path):
    for arguments, words in ((["--disk-cache", "1GiB"], "without disk-cache-dir"),
                             (["--disk-write-through"], "without disk-cache-dir"),
                             (["--disk-max-age", "7d"], "without disk-cache-dir"),
                             (["--disk-cache-dir", tmp_path, "--disk-cache", "1MiB"], "out of range"),
                             (["--disk-cache-dir", tmp_path, "--disk-max-age", "7"], "disk-max-age"),
                             (["--disk-cache-dir", tmp_path, "--no-prefix-cache"], "no-prefix-cache"),
                             (["--host-cache", "100"], "host-cache")):
        done = run("validate", "--model", MODEL, *arguments)
        assert done.returncode == 2 and words in done.stderr, (arguments, done.stderr)


def test_a_directory_serves_one_daemon(tmp_path):
    options = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "8MiB"]
    with Daemon(*options):
        with Daemon(*options, wait=False) as second:
            assert second.exit_code() == 1
            assert second.logged("disk-cache-dir") and not second.logged("model refused")
