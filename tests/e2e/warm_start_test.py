"""The warm start: a daemon that starts beside others loads what they use most before it is ready. Whatever
the store says or does, it starts, and answers are those of a daemon that reuses nothing.
"""

import json
import random
import signal

import pytest
from daemon import Daemon, wait_until
from keys_test import hash_key
from kv_endpoints import endpoint, ready
from kv_events_test import EVENTS, first_batch
from kv_subscriber import Subscriber
from redis_server import RedisServer, SlowProxy
from tiers_test import BLOCK, CONTEXT, ask, check_at_rest, tokens_from

PREFIX, TAIL = 12 * BLOCK, 2 * BLOCK + 3
RESULTS = ("loaded", "missing", "damaged", "failed", "late")


def options(url, *more):
    return ["--context", CONTEXT, "--remote-cache", url, *more]


def traffic(seed, requests, prefixes=24):
    """Prompts that begin with one of some prefixes, by Zipf's law, and end in a way of their own."""
    draw = random.Random(1)
    known = [[draw.randrange(1, 2000) for _ in range(PREFIX)] for _ in range(prefixes)]
    weights = [1 / (rank + 1) for rank in range(prefixes)]
    draw = random.Random(seed)
    return [draw.choices(known, weights)[0] + [draw.randrange(1, 2000) for _ in range(TAIL)]
            for _ in range(requests)]


def serve(daemon, prompts, **fields):
    """Returns the share of the prompts' tokens that was cached."""
    cached = sum(ask(daemon, ids, **fields)[1] for ids in prompts)
    return cached / sum(map(len, prompts))


def total(daemon, name):
    return daemon.metrics()[name, ()]


def results(daemon):
    metrics = daemon.metrics()
    return {result: metrics["prefixd_warm_start_blocks", (("result", result),)] for result in RESULTS}


def wait_until_told(daemon, store):
    """Until the hot list has what was served by now, and the store has the records of its blocks. It is
    written every ten seconds."""
    before = total(daemon, "prefixd_hot_list_writes_total")
    serve(daemon, traffic(1, 1))  # something new, so that it is written once more
    wait_until(lambda: total(daemon, "prefixd_hot_list_writes_total") > before, "the hot list")
    wait_until(lambda: len(store.records()) >= total(daemon, "prefixd_hot_list_blocks"), "the records")


def check(daemon):
    return json.loads(daemon.get("/ready")[2])["checks"].get("warm_start")


@pytest.fixture(scope="module")
def bare():
    with Daemon("--context", CONTEXT, "--no-prefix-cache") as daemon:
        return [ask(daemon, ids)[0] for ids in traffic(3, 20)]


ALICE, BOB = "sk-alice-0123456789abcdef", "sk-bob-0123456789abcdefgh"


def cached_of(daemon, key, ids):
    """Sends the prompt of a tenant. Returns how many of its tokens were cached."""
    body = {"model": "demo", "prompt": ids, "max_tokens": 1}
    text = daemon.request("POST", "/v1/completions", body, {"x-api-key": key})[2]
    return json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture(scope="module")
def tenants(tmp_path_factory):
    """A store of its own, keys, and a daemon that has served one of two tenants."""
    keys = tmp_path_factory.mktemp("tenants") / "keys"
    keys.write_text(hash_key("--tenant", "alice", key=ALICE).stdout +
                    hash_key("--tenant", "bob", key=BOB).stdout)
    with RedisServer() as store, Daemon(*options(store.url, "--api-keys", keys)) as daemon:
        for _ in range(2):
            cached_of(daemon, ALICE, traffic(3, 1)[0])
        yield store, keys


@pytest.fixture(scope="module")
def fleet(tenants):
    """A store, and a daemon that has served for a while. Meanwhile that of `tenants` writes its list, too."""
    with RedisServer() as store, Daemon(*options(store.url)) as daemon:
        serve(daemon, traffic(2, 150))
        wait_until_told(daemon, store)
        yield store, daemon


def test_a_new_daemon_hits_what_others_have_served(fleet, bare):
    store, first = fleet
    next_requests = traffic(3, 100)
    listed = total(first, "prefixd_hot_list_blocks")
    with Daemon(*options(store.url)) as second:
        store.signal(signal.SIGSTOP)  # whatever it hits now, it had before its first request
        try:
            for ids, said in zip(next_requests, bare):
                assert ask(second, ids)[0] == said
            share = serve(second, next_requests[len(bare):])
            assert tokens_from(second, "device") > 0 and tokens_from(second, "remote") == 0
        finally:
            store.signal(signal.SIGCONT)
        assert share >= 0.8 * serve(first, next_requests[len(bare):])
        counts = results(second)
        assert counts == {**dict.fromkeys(RESULTS, 0), "loaded": listed}
        assert check(second) == f"ok: {int(counts['loaded'])} of {int(counts['loaded'])} blocks"
        assert second.logged("warm start blocks=")
        check_at_rest(second)


def test_it_loads_no_more_than_it_may(fleet):
    store, _ = fleet
    with Daemon(*options(store.url, "--warm-start", "280KiB")) as daemon:
        assert 0 < results(daemon)["loaded"] <= 10
        assert total(daemon, "prefixd_warm_start_bytes") <= 280 << 10
        read = daemon.metrics()["prefixd_tier_read_bytes_total", (("tier", "remote"),)]
        assert read == total(daemon, "prefixd_warm_start_bytes")
        check_at_rest(daemon)
    with Daemon(*options(store.url), device_cache="1MiB") as daemon:  # about 36 blocks
        assert 10 < results(daemon)["loaded"] < 36
        assert daemon.metrics()["prefixd_tier_evictions_total", (("tier", "device"),)] == 0
        check_at_rest(daemon)


def test_zero_turns_it_off(fleet):
    store, _ = fleet
    for off in (["--warm-start", "0"], ["--warm-start-seconds", "0"], ["--load-policy", "recompute"]):
        with Daemon(*options(store.url, *off)) as daemon:
            assert set(results(daemon).values()) == {0}
            assert check(daemon) is None


@pytest.mark.parametrize("how", ["killed", "stopped", "slow"])
def test_it_starts_without_the_store(fleet, how, bare):
    whole, _ = fleet
    ids = traffic(3, 1)[0]
    if how == "slow":
        with SlowProxy(whole.port, 40_000) as proxy, \
                Daemon(*options(proxy.url, "--warm-start-seconds", "1")) as daemon:
            assert results(daemon)["loaded"] < 20
            assert ask(daemon, ids)[0] == bare[0]
            assert "; " in check(daemon)
        return
    with RedisServer() as store:
        store.kill() if how == "killed" else store.signal(signal.SIGSTOP)
        with Daemon(*options(store.url)) as daemon:
            assert ask(daemon, ids) == (bare[0], 0)
            assert set(results(daemon).values()) == {0}
            assert "; the remote cache has failed" in check(daemon)
            assert daemon.get("/ready")[0] == 200


def copy(store, other):
    for name in store.ask("KEYS", "prefixd:*"):
        other.ask("SET", name, store.ask("GET", name))


PLACES = {"head": 60, "tokens": 150, "payload": 1000}  # of a byte that is changed


@pytest.mark.parametrize("how", ["damaged", "payload", "gone", "no list"])
def test_what_the_store_says_is_verified(fleet, bare, how):
    whole, _ = fleet
    with RedisServer() as store:
        copy(whole, store)
        names = sorted(store.records())
        records = {name: store.ask("GET", name) for name in names}
        for i, name in enumerate(names):
            record = records[name]
            # Damaged: each record in one of three ways, and there are many first ones of prompts.
            what = ("head", "tokens", "another")[i % 3] if how == "damaged" else how
            if what in PLACES:
                at = PLACES[what]
                store.ask("SET", name, record[:at] + bytes([record[at] ^ 1]) + record[at + 1:])
            elif what == "another":
                store.ask("SET", name, records[names[i - 1]])
            elif what == "gone":
                store.ask("DEL", name)
        if how == "no list":
            for name in store.ask("KEYS", "prefixd:hot:*"):
                store.ask("SET", name, b"hello" * 200_000)
        with Daemon(*options(store.url)) as daemon:
            counts = results(daemon)
            assert counts["loaded"] == 0, counts
            expected = {"payload": "failed", "gone": "missing", "no list": None}.get(how, "damaged")
            assert expected is None or counts[expected] > 0, counts
            if how != "no list":  # then the records are there
                assert ask(daemon, traffic(3, 1)[0]) == (bare[0], 0)
            for ids, said in zip(traffic(3, 4), bare):
                assert ask(daemon, ids)[0] == said
            check_at_rest(daemon)


def test_tenants_stay_apart(tenants):
    store, keys = tenants
    ids = traffic(3, 1)[0]
    wait_until(lambda: store.ask("KEYS", "prefixd:hot:*"), "the hot list")
    wait_until(lambda: len(store.records()) == len(ids) // BLOCK, "the records")
    with Daemon(*options(store.url, "--api-keys", keys)) as second:
        store.signal(signal.SIGSTOP)
        assert cached_of(second, BOB, ids) == 0
        assert cached_of(second, ALICE, ids) >= PREFIX


def test_routers_hear_of_it(fleet, tmp_path):
    store, _ = fleet
    disk = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB"]
    ids = traffic(3, 1)[0]
    for turn, tiers in enumerate([[], disk, disk]):
        with Daemon(*options(store.url, *EVENTS, *tiers)) as daemon, \
                Subscriber(endpoint(ready(daemon))) as router:
            first_batch(router)
            router.wait(lambda blocks: blocks.credit(ids) >= PREFIX // BLOCK, "blocks without a request")
            assert tiers or router.blocks.orphans == 0  # else spills go on while it connects
            read = {tier: daemon.metrics()["prefixd_tier_read_bytes_total", (("tier", tier),)]
                    for tier in ("disk", "remote")}
            assert results(daemon)["loaded"] > 0
            # The last time, blocks of the process before lie on the disk.
            assert read["disk"] > 0 if turn == 2 else read["disk"] == 0 and read["remote"] > 0
            wait_until(lambda: daemon.metrics()["prefixd_spill_pending_bytes", ()] == 0, "durable records")
            daemon.signal()
            assert daemon.exit_code() == 0
