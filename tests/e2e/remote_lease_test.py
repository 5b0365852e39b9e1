"""What daemons that share a remote cache do for each other while they compute: a cold prompt that several get
at once is computed by one, and with --remote-write-through what one computes another takes up at once.

The model is one on which a prompt takes a second or more, so that who computes it learns that others wait.
"""

import concurrent.futures
import contextlib
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
                  "--load-policy", "load", *options, model=model)


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
    with start(model, "--no-prefix-cache") as daemon:
        return [ask(daemon, prompt(seed))[0] for seed in range(3)]


def total(daemons, name, **labels):
    return sum(daemon.metrics()[name, tuple(sorted(labels.items()))] for daemon in daemons)


def written(daemons):
    return total(daemons, "prefixd_remote_writes_total", result="written")


@contextlib.contextmanager
def fleet(model, store, count):
    """Daemons that have all computed at once, so each expects a prompt to take longer than it will alone."""
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(count) as threads:
        daemons = [stack.enter_context(start(model, "--remote-cache", store.url)) for _ in range(count)]
        list(threads.map(lambda number: ask(daemons[number], prompt(100 + number)[:300]), range(count)))
        yield daemons


def test_four_daemons_compute_a_cold_prompt_once(model, bare):
    with RedisServer() as store, fleet(model, store, 4) as daemons:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda daemon: ask(daemon, prompt(0)), daemons))
        assert [said for said, _ in answers] == [bare[0]] * 4
        assert sum(computed for _, computed in answers) <= 1.1 * TOKENS
        wait_until(lambda: total(daemons, "prefixd_spill_pending_bytes") == 0, "no block on its way")
        assert written(daemons) <= 1.1 * BLOCKS
        records = [store.ask("STRLEN", key) for key in store.records()]
        assert total(daemons, "prefixd_tier_written_bytes_total", tier="remote") <= 1.1 * sum(records)
        assert total(daemons, LEASES, result="taken") == 1
        assert total(daemons, LEASES, result="wanted") == 1
        assert total(daemons, LEASES, result="waited") == 3
        assert total(daemons, LEASES, result="missed") == 0
        wait_until(lambda: store.ask("KEYS", "prefixd:lease:*") == [], "that the lease is given back")


def test_what_one_daemon_wants_is_not_written(model, bare):
    with RedisServer() as store, fleet(model, store, 1) as [daemon]:
        assert ask(daemon, prompt(0)) == (bare[0], TOKENS)
        assert total([daemon], LEASES, result="taken") == 1
        wait_until(lambda: store.ask("KEYS", "*") == [], "that the lease is given back, and the probe gone")
        assert written([daemon]) == 0


def test_when_who_computes_is_killed_one_other_goes_on(model, bare):
    with RedisServer() as store, fleet(model, store, 4) as daemons:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            first = threads.submit(lambda: daemons[0].request("POST", "/v1/completions",
                                                              {"prompt": prompt(1), "max_tokens": 2}))
            wait_until(lambda: total(daemons[:1], LEASES, result="taken") == 1, "a lease")
            others = [threads.submit(ask, daemon, prompt(1)) for daemon in daemons[1:]]
            wait_until(lambda: total(daemons[1:], LEASES, result="waited") == 3, "three that wait")
            assert not first.done(), "the prompt is too short for this test"
            daemons[0].process.kill()
            answers = [other.result() for other in others]
            with pytest.raises(Exception):
                first.result()
        assert [said for said, _ in answers] == [bare[1]] * 3
        assert sum(computed for _, computed in answers) <= 1.1 * TOKENS, "one after the other at most"
        assert total(daemons[1:], LEASES, result="taken") == 1
        assert total(daemons[1:], LEASES, result="missed") == 1, "that of the one that has taken over"


@pytest.mark.parametrize("disk", [False, True])
def test_prefill_on_one_daemon_and_decode_on_another(model, bare, disk, tmp_path):
    more = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "256MiB"] if disk else []
    with RedisServer() as store, start(model, "--remote-cache", store.url, "--remote-write-through",
                                       *more) as prefill:
        with start(model, "--remote-cache", store.url) as decode:
            assert prefill.complete(prompt=prompt(2), max_tokens=1)["usage"]["completion_tokens"] == 1
            said, computed = ask(decode, prompt(2))
            assert said == bare[2]
            assert computed <= BLOCK
            assert written([prefill]) == BLOCKS
            assert written([decode]) == 0
