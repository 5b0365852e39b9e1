"""A remote cache that daemons share, with Debian's redis-server: what one has computed twice, another takes
from there. Whatever the store does, answers are those of a daemon that reuses nothing.
"""

import json
import signal

import pytest
from daemon import MODEL, Daemon, run, wait_until
from redis_server import RedisCluster, RedisServer, SlowProxy
from tiers_test import BLOCK, CONTEXT, LOAD, SMALL_POOL, ask, check_at_rest, prompt, tokens_from

WHOLE = 320 - BLOCK  # of a prompt, so much is reused at least when its blocks are there
BLOCKS = 320 // BLOCK  # of a prompt


@pytest.fixture(scope="module")
def bare():
    with Daemon("--context", CONTEXT, "--no-prefix-cache") as daemon:
        return [ask(daemon, prompt(seed))[0] for seed in range(8)]


STORES = {"plain": RedisServer, "tls": lambda: RedisServer(tls=True), "cluster": RedisCluster}


def options(url, *more):
    # Without the warm start (warm_start_test.py): what is loaded here, requests load.
    return ["--context", CONTEXT, "--remote-cache", url, "--warm-start", "0", *more]


def options_of(store, *more):
    return ["--context", CONTEXT, *store.flags, "--warm-start", "0", *more]


def writes(daemon, result="written"):
    return daemon.metrics()["prefixd_remote_writes_total", (("result", result),)]


def total(daemon, name):
    return daemon.metrics()[name, ()]


def fill(daemon, seeds, bare):
    """Sends prompts twice, and waits until the store has their blocks."""
    for seed in seeds:
        before = writes(daemon)
        for _ in range(2):
            assert ask(daemon, prompt(seed))[0] == bare[seed]
        wait_until(lambda: writes(daemon) >= before + BLOCKS, f"records of prompt {seed}")


def check_remote(daemon):
    return json.loads(daemon.get("/ready")[2])["checks"]["remote"]


@pytest.mark.parametrize("kind, disk", [("plain", False), ("plain", True), ("tls", False), ("cluster", True)])
def test_two_daemons_share(tmp_path, bare, kind, disk):
    def tiers(name):
        return ["--disk-cache-dir", tmp_path / name, "--disk-cache", "64MiB"] if disk else []
    with STORES[kind]() as store:
        with Daemon(*options_of(store, *tiers("a"))) as first:
            fill(first, range(3), bare)
            ask(first, prompt(7))  # once: nobody else wants it
            with Daemon(*options_of(store, *LOAD, *tiers("b"))) as second:
                for seed in range(3):
                    said, cached = ask(second, prompt(seed))
                    assert said == bare[seed], seed
                    assert cached >= WHOLE, seed
                assert tokens_from(second, "remote") >= 3 * WHOLE
                assert second.metrics()["prefixd_tier_read_bytes_total", (("tier", "remote"),)] > 0
                answer = second.complete(prompt=prompt(0), max_tokens=1)
                assert "remote" not in answer["headers"]["x-prefixd-cache-source"], "it is on the device now"
                assert ask(second, prompt(7)) == (bare[7], 0)
                assert check_remote(second) == "ok"
                check_at_rest(second)
            assert len(store.records()) == 3 * BLOCKS, "each block once"
            assert writes(first) == 3 * BLOCKS


def test_the_header_names_it(bare):
    with RedisServer() as store, Daemon(*options(store.url)) as first:
        fill(first, [0], bare)
        with Daemon(*options(store.url, *LOAD)) as second:
            answer = second.complete(prompt=prompt(0), max_tokens=1)
            assert "shared=0,remote=319" in answer["headers"]["x-prefixd-cache-source"]
            first_tenant = second.complete(prompt=prompt(0), max_tokens=1, cache_salt="other")
            assert first_tenant["headers"]["x-prefixd-cached-tokens"] == "0", "a salt is another namespace"


def damaged(record, how):
    if how == "flip":
        at = len(record) // 2
        return record[:at] + bytes([record[at] ^ 1]) + record[at + 1:]
    if how == "short":
        return record[:len(record) // 2]
    return {"empty": b"", "text": b"hello", "long": record + b"x"}[how]


@pytest.mark.parametrize("how", ["flip", "short", "empty", "text", "long", "another"])
def test_damage_is_a_counted_miss(bare, how):
    with RedisServer() as store, Daemon(*options(store.url)) as first:
        fill(first, [0, 1], bare)
        keys = sorted(store.records())
        values = {key: store.ask("GET", key) for key in keys}
        for i, key in enumerate(keys):
            other = values[keys[(i + 1) % len(keys)]]
            store.ask("SET", key, other if how == "another" else damaged(values[key], how))
        with Daemon(*options(store.url, *LOAD)) as second:
            for seed in (0, 1):
                assert ask(second, prompt(seed)) == (bare[seed], 0)
            failures = sum(value for (name, _), value in second.metrics().items()
                           if name == "prefixd_verify_failures_total")
            assert failures > 0
            check_at_rest(second)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_store_that_is_gone_costs_misses_alone(bare, how):
    with RedisServer() as store:
        with Daemon(*options(store.url)) as daemon:
            fill(daemon, [0], bare)
            if how == "killed":
                store.kill()
            else:
                store.signal(signal.SIGSTOP)
            for seed in range(1, 8):
                for _ in range(2):
                    assert ask(daemon, prompt(seed))[0] == bare[seed]
            wait_until(lambda: check_remote(daemon).startswith("failed"), "the check of /ready")
            assert daemon.get("/ready")[0] == 200
            assert daemon.logged("the remote cache fails")
            assert sum("the remote cache fails" in (line or "") for line in daemon.log) == 1
            assert total(daemon, "prefixd_remote_failures_total") <= 10
            if how == "killed":
                store.restart()
            else:
                store.signal(signal.SIGCONT)
            wait_until(lambda: check_remote(daemon) == "ok", "that it works again")
            check_at_rest(daemon)


def test_a_server_of_a_cluster_that_is_gone(bare):
    """Its blocks are missing; those before the first of them are loaded from the other servers."""
    with RedisCluster() as store:
        with Daemon(*options_of(store)) as first:
            fill(first, range(4), bare)
            records = [len(server.records()) for server in store.servers]
            assert sum(records) == 4 * BLOCKS and min(records) > 0
            store.servers[1].kill()
            with Daemon(*options_of(store, *LOAD)) as second:
                for _ in range(2):
                    for seed in range(8):
                        assert ask(second, prompt(seed))[0] == bare[seed], seed
                assert tokens_from(second, "remote") > 0
                wait_until(lambda: "the others work" in check_remote(second), "the check of /ready")
                assert second.get("/ready")[0] == 200
                assert second.logged("a server of the remote cache fails")
                assert not any("requests are served without it" in (line or "") for line in second.log)
                wait_until(lambda: writes(second) > 0, "writes to the others")
                store.servers[1].restart()
                wait_until(lambda: check_remote(second) == "ok", "that it works again")
                check_at_rest(second)


def test_a_certificate_that_is_not_believed(bare):
    with RedisServer(tls=True) as store, Daemon(*options(store.url)) as daemon:
        assert ask(daemon, prompt(0))[0] == bare[0]
        wait_until(lambda: "remote-tls-ca" in check_remote(daemon), "the reason in /ready")


def test_a_full_store_keeps_what_it_has(bare):
    with RedisServer("--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as store:
        with Daemon(*options(store.url)) as daemon:
            for seed in range(8):
                for _ in range(2):
                    assert ask(daemon, prompt(seed))[0] == bare[seed]
            wait_until(lambda: writes(daemon, "full") > 0, "a write that is refused")
            assert check_remote(daemon) == "ok"
            with Daemon(*options(store.url, *LOAD)) as second:
                assert ask(second, prompt(0))[0] == bare[0]
                assert tokens_from(second, "remote") > 0


def test_a_start_without_the_store(bare):
    with RedisServer() as store:
        store.kill()
        with Daemon(*options(store.url)) as daemon:
            assert ask(daemon, prompt(0)) == (bare[0], 0)
            store.restart()
            wait_until(lambda: check_remote(daemon) == "ok", "that it is found")
            fill(daemon, [1], bare)


def test_a_slow_store_costs_little(bare):
    """Through a proxy of 40 KB per second a block takes most of a second."""
    with RedisServer() as store, Daemon(*options(store.url)) as first:
        fill(first, range(4), bare)
        with SlowProxy(store.port, 40_000) as proxy, Daemon(*options(proxy.url)) as second:
            for seed in range(8):
                assert ask(second, prompt(seed))[0] == bare[seed]
            check_at_rest(second)


def test_the_device_cache_gets_back_what_it_evicted(bare):
    with RedisServer() as store, Daemon(*options(store.url, *LOAD), device_cache=SMALL_POOL) as daemon:
        for seed in range(8):
            fill(daemon, [seed], bare)
        before = tokens_from(daemon, "remote")
        assert ask(daemon, prompt(0))[0] == bare[0]
        assert tokens_from(daemon, "remote") > before
        check_at_rest(daemon)


def test_options_say_what_is_wrong():
    for url, words in (("localhost:6379", "redis://"), ("redis://host:70000", "70000"),
                       ("redis://me:secret%@host", "%25")):
        done = run("serve", "--model", MODEL, "--remote-cache", url)
        assert done.returncode == 2, done.stderr
        assert "remote-cache" in done.stderr and words in done.stderr, done.stderr
        assert "secret" not in done.stderr
    for more, words in ((["--remote-cache", "rediss://host", "--remote-tls-ca", "/none"],
                         "remote-tls-ca: '/none'"),
                        (["--remote-cache", "rediss://host", "--remote-tls-cert", "/none"],
                         "remote-tls-cert: give the key as well"),
                        (["--remote-cache", "redis://host", "--remote-tls-ca", "/none"], "rediss://"),
                        (["--remote-tls-ca", "/none"], "without remote-cache")):
        done = run("serve", "--model", MODEL, *more)
        assert done.returncode == 2 and words in done.stderr, done.stderr
