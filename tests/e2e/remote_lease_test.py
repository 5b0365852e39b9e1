"""What daemons that share a remote cache do for each other while they compute: a cold prompt that several get
at once is computed by one, and with --remote-write-through what one computes another takes up at once.

The model is one on which a prompt takes a second or more, so that who computes it learns that others wait. A
lease is renewed in time, which a busy machine may miss: then another daemon computes, too, and counts that
its wait was in vain. So a test that sees that goes on with another prompt, once or twice. Whatever it then
sees, nobody computes but who had the lease and who has counted so.
"""

import concurrent.futures
import contextlib
import functools
import random
import subprocess

import pytest
from daemon import ROOT, Daemon, wait_until
from redis_server import RedisServer

BLOCK = 16
TOKENS = 2000
BLOCKS = TOKENS // BLOCK  # all of them full
LEASES = "prefixd_remote_leases_total"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama-40m"
    subprocess.run([ROOT / "build/release/bench/make_model", "--preset", "llama-40m", folder], check=True,
                   capture_output=True)
    return folder


def start(model, *options):
    return Daemon("--context", 2048, "--threads", 1, "--step-seconds", 0.1, "--served-model-name", "demo",
                  *options, model=model)


def start_with(store, model, *options):
    return start(model, "--remote-cache", store.url, "--warm-start", 0, *options)


def prompt(seed):
    draw = random.Random(seed)
    return [draw.randrange(1, 4000) for _ in range(TOKENS)]


def ask(daemon, ids):
    """Returns what the answer says, down to the bits of its probabilities, and the computed prompt tokens."""
    answer = daemon.complete(prompt=ids, max_tokens=2, logprobs=1, ignore_eos=True, return_token_ids=True)
    choice = answer["choices"][0]
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return (choice["token_ids"], choice["logprobs"]["token_logprobs"]), len(ids) - cached


@pytest.fixture(scope="module")
def bare(model):
    """What a daemon that reuses nothing says to a prompt, by its seed."""
    with start(model, "--no-prefix-cache") as daemon:
        yield functools.cache(lambda seed: ask(daemon, prompt(seed))[0])


def total(daemons, name, **labels):
    return sum(daemon.metrics()[name, tuple(sorted(labels.items()))] for daemon in daemons)


def written(daemons):
    return total(daemons, "prefixd_remote_writes_total", result="written")


def leases(daemons):
    return [total(daemons, LEASES, result=result) for result in ("taken", "wanted", "waited", "missed")]


def since(before, now):
    return [value - old for old, value in zip(before, now, strict=True)]


@pytest.fixture(scope="module")
def store():
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def fleet(model, store):
    """Daemons that have all computed at once, so each expects a prompt to take longer than it will alone."""
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(4) as threads:
        daemons = [stack.enter_context(start_with(store, model)) for _ in range(4)]
        list(threads.map(lambda number: ask(daemons[number], prompt(100 + number)[:300]), range(4)))
        yield daemons


def test_four_daemons_compute_a_cold_prompt_once(store, fleet, bare):
    for seed in (0, 1, 9):
        said = bare(seed)
        before, blocks, known = leases(fleet), written(fleet), set(store.records())
        sent = total(fleet, "prefixd_tier_written_bytes_total", tier="remote")
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda daemon, seed=seed: ask(daemon, prompt(seed)), fleet))
        assert [answer for answer, _ in answers] == [said] * 4
        wait_until(lambda: total(fleet, "prefixd_spill_pending_bytes") == 0, "no block on its way")
        taken, wanted, waited, missed = since(before, leases(fleet))
        if (taken, wanted, waited, missed) == (1, 1, 3, 0):
            break
    assert sum(computed for _, computed in answers) <= 1.1 * TOKENS * (1 + missed)
    assert waited > 0 and wanted > 0 and taken > 0
    assert written(fleet) - blocks <= 1.1 * BLOCKS * (1 + missed)
    records = [store.ask("STRLEN", key) for key in store.records() if key not in known]
    assert total(fleet, "prefixd_tier_written_bytes_total", tier="remote") - sent <= 1.1 * sum(records)
    wait_until(lambda: store.ask("KEYS", "prefixd:lease:*") == [], "that the lease is given back")


def test_what_one_daemon_wants_is_not_written(store, fleet, bare):
    said = bare(2)
    taken, blocks = total(fleet, LEASES, result="taken"), written(fleet)
    assert ask(fleet[0], prompt(2)) == (said, TOKENS)
    assert total(fleet, LEASES, result="taken") > taken
    wait_until(lambda: store.ask("KEYS", "prefixd:lease:*") == [], "that the lease is given back")
    assert written(fleet) == blocks


@pytest.mark.parametrize("disk, seeds", [(False, (3, 4)), (True, (5, 6))])
def test_prefill_on_one_daemon_and_decode_on_another(model, store, bare, disk, seeds, tmp_path):
    more = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "256MiB"] if disk else []
    with start_with(store, model, "--remote-write-through", *more) as prefill, \
            start_with(store, model, "--load-policy", "load") as decode:
        for seed in seeds:
            said = bare(seed)
            before = written([prefill]), written([decode])
            answer = prefill.complete(prompt=prompt(seed), max_tokens=1)
            assert answer["usage"]["completion_tokens"] == 1
            answer, computed = ask(decode, prompt(seed))
            assert answer == said
            if computed <= BLOCK:
                break
        assert computed <= BLOCK
        wait_until(lambda: written([prefill]) - before[0] == BLOCKS, "that all blocks are written")
        assert written([decode]) == before[1]


def test_when_who_computes_is_killed_one_other_goes_on(fleet, bare):
    """The last test of the fleet, of which it kills a daemon or two."""
    for victim, seed in enumerate((7, 8)):
        said = bare(seed)
        owner, others = fleet[victim], fleet[victim + 1:]
        before, owned = leases(others), total([owner], LEASES, result="taken")
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            first = threads.submit(owner.request, "POST", "/v1/completions",
                                   {"prompt": prompt(seed), "max_tokens": 2})
            wait_until(lambda: total([owner], LEASES, result="taken") > owned, "a lease")
            asked = [threads.submit(ask, daemon, prompt(seed)) for daemon in others]
            wait_until(lambda: since(before, leases(others))[2] >= len(others), "others that wait")
            assert not first.done(), "the prompt is too short for this test"
            owner.process.kill()
            answers = [other.result() for other in asked]
            with pytest.raises(Exception):
                first.result()
        assert [answer for answer, _ in answers] == [said] * len(others)
        taken, _, _, missed = since(before, leases(others))
        if (taken, missed) == (1, 1):  # that of the one that has taken over
            break
    assert taken > 0
    assert sum(computed for _, computed in answers) <= 1.1 * TOKENS * missed, "who had waited in vain"
