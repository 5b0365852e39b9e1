"""KV events: what a router reads of a daemon, with a small subscriber (kv_subscriber.py)."""

import random
import signal

import pytest
from daemon import MODEL, Daemon, run, wait_until
from kv_endpoints import endpoint, ready
from kv_subscriber import AllBlocksCleared, Blocks, Subscriber, replay

EVENTS = ["--kv-events", "tcp://127.0.0.1:0"]
REPLAY = ["--kv-events-replay", "tcp://127.0.0.1:0"]
BLOCK = 16


def ask(daemon, ids, **fields):
    """Returns how many tokens of the prompt were cached."""
    answer = daemon.complete(prompt=ids, max_tokens=1, ignore_eos=True, **fields)
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def random_prompts(seed, count):
    """Prompts of which many begin as an earlier one."""
    draw = random.Random(seed)
    prompts = []
    for _ in range(count):
        begin = draw.choice(prompts)[:draw.randrange(400)] if prompts and draw.random() < 0.7 else []
        prompts.append(begin + [draw.randrange(1, 2000) for _ in range(draw.randrange(1, 430 - len(begin)))])
    return prompts


def whole_blocks(ids, cached):
    """Those of the tokens that were cached; the last token of a prompt is computed in any case."""
    return min(cached, len(ids) - 1) // BLOCK


def first_batch(router):
    router.wait(lambda _: router.last is not None, "the first batch")


def test_a_subscriber_knows_what_a_request_will_find():
    with (Daemon(*EVENTS, *REPLAY, device_cache="1MiB") as daemon,
          Subscriber(endpoint(ready(daemon))) as router):
        first_batch(router)
        assert router.first_events == [AllBlocksCleared()]
        replays = endpoint(daemon, "replay")
        credited = 0
        for ids in random_prompts(1, 60):
            credit = min(router.catch_up(replays).credit(ids), (len(ids) - 1) // BLOCK)
            assert whole_blocks(ids, ask(daemon, ids)) == credit
            credited += credit
        assert credited > 50
        metrics = daemon.metrics()
        for kind in ("stored", "removed"):
            assert metrics["prefixd_kv_events_total", (("type", kind),)] > 0
        assert {medium for media in router.catch_up(replays).media.values() for medium in media} == {"GPU"}
        assert router.blocks.orphans == 0
        assert router.topics == {""}, "vllm-router 0.1.17 reads no other"

        with Subscriber(endpoint(daemon)) as late:  # knows all of it without a request
            late.wait(lambda blocks: blocks.media == router.blocks.media, "what the first one knows")
            assert late.blocks.prefix == router.blocks.prefix
            assert late.first_events[0] == AllBlocksCleared()
        daemon.signal()
        assert daemon.exit_code() == 0
        router.wait(lambda blocks: not blocks.media, "that the worker has gone")


def test_lower_tiers_are_told_by_their_media(tmp_path):
    options = [*EVENTS, "--host-cache", "1MiB", "--disk-cache-dir", tmp_path / "disk", "--disk-cache",
               "64MiB", "--disk-write-through", "--load-policy", "load"]
    with Daemon(*options, device_cache="1MiB") as daemon, Subscriber(endpoint(ready(daemon))) as router:
        for ids in random_prompts(2, 30):
            ask(daemon, ids)
        wait_until(lambda: daemon.metrics()["prefixd_spill_pending_bytes", ()] == 0, "durable records")

        def told(blocks):
            metrics = daemon.metrics()
            return all(sum(medium in media for media in blocks.media.values()) ==
                       metrics["prefixd_blocks", (("state", "cached"), ("tier", tier))]
                       for medium, tier in (("GPU", "device"), ("CPU", "host"), ("DISK", "disk")))
        router.wait(told, "as many blocks in each medium as the metrics have in its tier")
        media = list(router.blocks.media.values())
        assert {"DISK"} in media and any("CPU" in of_block for of_block in media)
        assert router.blocks.orphans == 0
        with Subscriber(endpoint(daemon)) as late:
            late.wait(lambda known: known.media == router.blocks.media, "the same media")
            assert late.blocks.orphans == 0


def test_a_prefix_that_is_loaded_after_a_restart_is_told_from_its_beginning(tmp_path):
    options = [*EVENTS, "--disk-cache-dir", tmp_path / "disk", "--disk-cache", "64MiB",
               "--disk-write-through", "--load-policy", "load"]
    ids = list(range(1, 400))
    with Daemon(*options) as daemon:
        ask(daemon, ids)
        wait_until(lambda: daemon.metrics()["prefixd_spill_pending_bytes", ()] == 0, "durable records")
        daemon.signal()
        assert daemon.exit_code() == 0
    with Daemon(*options) as daemon, Subscriber(endpoint(ready(daemon))) as router:
        first_batch(router)
        assert ask(daemon, ids) == 24 * BLOCK
        router.wait(lambda blocks: blocks.credit(ids) == 24, "all that was loaded")
        assert router.blocks.orphans == 0


@pytest.mark.parametrize("all_tenants", [False, True])
def test_what_a_salt_keeps_apart_is_told_only_when_asked(all_tenants):
    with Daemon(*EVENTS, *(["--kv-events-tenants"] if all_tenants else [])) as daemon:
        with Subscriber(endpoint(ready(daemon))) as router:
            first_batch(router)
            ids = list(range(1, 100))
            ask(daemon, ids, cache_salt="apart")
            ask(daemon, ids[:50])
            router.wait(lambda blocks: blocks.credit(ids) == 3, "what all share")
            of_salt = [tokens for extra, tokens in router.blocks.prefix.values() if extra]
            assert len(of_salt) == (6 if all_tenants else 0)


def check_replay(router, replay_endpoint, start):
    """The batches from `start` on are contiguous, and tell the same as those that the router has got."""
    batches = replay(replay_endpoint, start)
    numbers = [number for _, number, _ in batches]
    assert numbers == list(range(start, start + len(numbers)))
    while router.last < numbers[-1]:
        assert router.receive(60), f"{numbers[-1]} was published"
    replayed = Blocks()
    for _, number, batch in batches:
        if number <= router.last:
            replayed.apply(batch)
    assert replayed.media == router.blocks.media
    return batches


def test_numbers_go_on_after_a_kill_and_the_dead_blocks_are_cleared(tmp_path):
    options = [*EVENTS, *REPLAY, "--kv-events-sequence", tmp_path / "sequence"]
    ids = list(range(1, 200))
    with Daemon(*options) as daemon, Subscriber(endpoint(ready(daemon))) as router:
        ask(daemon, ids)
        router.wait(lambda blocks: blocks.credit(ids) == 12, "all blocks")
        check_replay(router, endpoint(daemon, "replay"), 0)
        last = router.last
        daemon.signal(signal.SIGKILL)
        daemon.exit_code()
    with Daemon(*options) as daemon, Subscriber(endpoint(ready(daemon))) as router:
        first_batch(router)
        assert last < router.last <= last + 1002
        assert router.first_events == [AllBlocksCleared()]
        ask(daemon, ids)
        router.wait(lambda blocks: blocks.credit(ids) == 12, "all blocks again")
        batches = check_replay(router, endpoint(daemon, "replay"), last + 1)  # of the process that is gone
        assert batches[0][2].events[0] == AllBlocksCleared()
        assert replay(endpoint(daemon, "replay"), router.last + 1000) == []


@pytest.mark.parametrize("options, words", [
    (["--kv-events", "127.0.0.1:5557"], 'kv-events: "127.0.0.1:5557" is no endpoint'),
    (["--kv-events", "tcp://127.0.0.1:port"], "cannot be bound"),
    (["--kv-events-replay", "tcp://127.0.0.1:0"], "give kv-events as well"),
    (["--kv-events", "tcp://127.0.0.1:0", "--no-prefix-cache"], "nothing to tell"),
])
def test_wrong_options_are_named(options, words):
    done = run("serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--device-cache", "4MiB", *options)
    assert done.returncode == 2
    assert words in done.stderr
