"""Tests that vllm-router sends a request to the daemon that has its prefix, as the KV events of two say."""

import itertools
import re
import signal

from daemon import Daemon, wait_until
from kv_endpoints import endpoint
from kv_lossy_link import LossyLink
from router_program import Router, installed, program, two_daemons
from prometheus_server import free_port

pytestmark = installed("vllm-router")
BLOCK = 16
# Long enough for 12 blocks, and different from the first one on.
TEXTS = [f"{i} is the number of this text, which keeps on for a while. " * 12 for i in range(4)]
EVENTS = ("--block-tokens", BLOCK, "--kv-events", "tcp://127.0.0.1:0", "--kv-events-replay",
          "tcp://127.0.0.1:0")


class VllmRouter(Router):
    """vllm-router before the daemons. `sources`: the endpoints of their events. `options`: of its own."""

    def __init__(self, folder, *daemons, sources=None, **options):
        command = [program("vllm-router"), "--policy", "kv_aware", "--host", "127.0.0.1", "--prometheus-port",
                   free_port(), "--log-level", "debug", "--kv-event-block-size", BLOCK, "--kv-event-model",
                   "demo", "--worker-urls", *[daemon.url for daemon in daemons]]
        for daemon, source in zip(daemons, sources or map(endpoint, daemons)):
            command += ["--kv-event-source", f"{daemon.url}={source}", "--kv-event-replay-source",
                        f"{daemon.url}={endpoint(daemon, 'replay')}"]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), value]
        super().__init__(folder, *command)

    def cached(self, prompt):
        return super().cached(prompt + " more")

    def credits(self):
        log = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())
        return [int(tokens) for tokens in re.findall(r"credited_prefix_tokens=(\d+)", log)]


def requests(daemon):
    """How many prompts it has computed."""
    return daemon.metrics()["vllm:request_success_total",
                            (("finished_reason", "length"), ("model_name", "demo"))]


def warm(daemons):
    for i, text in enumerate(TEXTS):
        daemons[i % 2].complete(prompt=text, max_tokens=1)


def test_a_request_goes_to_the_daemon_that_has_its_prefix(tmp_path):
    with two_daemons(*EVENTS) as daemons:
        warm(daemons)
        with VllmRouter(tmp_path, *daemons) as late:  # it has seen none of these requests
            wait_until(lambda: late.cached(TEXTS[0]) and late.credits()[-1], "credit for what was there")
            for i in (1, 2, 3, 1, 3, 2, 0):
                assert late.cached(TEXTS[i]) >= 12 * BLOCK, i
                assert late.credits()[-1] >= 12 * BLOCK, i


def test_what_was_evicted_has_no_credit(tmp_path):
    with two_daemons(*EVENTS, "--context", 512, device_cache="1MiB") as daemons, \
            VllmRouter(tmp_path, *daemons) as router:
        warm(daemons)
        wait_until(lambda: router.cached(TEXTS[0]) and router.credits()[-1], "credit")

        def credit_after_eviction():
            for seed in range(12):
                for daemon in daemons:
                    daemon.complete(prompt=[seed + 1] * 300, max_tokens=1)
            router.cached(TEXTS[3])
            return router.credits()[-1]
        wait_until(lambda: credit_after_eviction() == 0, "no credit")


def test_after_its_eviction_a_prefix_is_asked_for_where_it_still_is(tmp_path):
    with two_daemons(*EVENTS, "--context", 512, device_cache="1MiB") as (one, two), \
            VllmRouter(tmp_path, one, two) as router:
        for daemon in (one, two):
            daemon.complete(prompt=TEXTS[0], max_tokens=1)
        wait_until(lambda: router.cached(TEXTS[0]) >= 12 * BLOCK and router.credits()[-1], "credit")

        def goes_to_the_other():
            for seed in range(12):
                one.complete(prompt=[seed + 1] * 300, max_tokens=1)
            before = requests(one)
            return router.cached(TEXTS[0]) >= 12 * BLOCK and requests(one) == before
        wait_until(goes_to_the_other, "a request that goes where the prefix is")
        for _ in range(4):
            assert router.cached(TEXTS[0]) >= 12 * BLOCK


def test_a_daemon_that_was_killed_comes_back_cold(tmp_path):
    http, *ports = [free_port() for _ in range(3)]
    events = ("--block-tokens", BLOCK, "--kv-events", f"tcp://127.0.0.1:{ports[0]}", "--kv-events-replay",
              f"tcp://127.0.0.1:{ports[1]}", "--kv-events-sequence", tmp_path / "sequence")

    def start():
        return Daemon(*events, listen=f"127.0.0.1:{http}")
    with Daemon(*EVENTS) as one, start() as two:
        two.complete(prompt=TEXTS[1], max_tokens=1)
        with VllmRouter(tmp_path, one, two, health_check_interval_secs=1) as router:
            wait_until(lambda: router.cached(TEXTS[1]) >= 12 * BLOCK and router.credits()[-1], "credit")
            two.signal(signal.SIGKILL)
            two.exit_code()
            assert router.cached(TEXTS[0]) >= 0, "the other one answers"
            with start() as back:
                numbers = itertools.count()

                def goes_there():  # with a text that the other one has never had
                    text = f"{next(numbers)} is known to the daemon that came back alone. " * 20
                    back.complete(prompt=text, max_tokens=1)
                    before = requests(back)
                    return router.cached(text) >= 12 * BLOCK and requests(back) > before
                wait_until(goes_there, "a request that goes to the daemon that came back")
                assert router.credits()[-1] >= 12 * BLOCK
                router.cached(TEXTS[3])
                assert router.credits()[-1] == 0, "nobody has it"


def test_when_a_daemon_is_killed_the_other_one_answers(tmp_path):
    with two_daemons(*EVENTS) as (one, two):
        warm((one, two))
        with VllmRouter(tmp_path, one, two) as router:
            wait_until(lambda: router.cached(TEXTS[1]) and router.credits()[-1], "credit")
            two.signal(signal.SIGKILL)
            two.exit_code()
            assert router.cached(TEXTS[0]) >= 12 * BLOCK
            router.cached(TEXTS[1])
            assert router.cached(TEXTS[1]) >= 12 * BLOCK, "the other one has computed it by now"


def test_lost_batches_are_asked_for_again(tmp_path):
    with two_daemons(*EVENTS) as daemons, LossyLink(endpoint(daemons[0])) as lossy, \
            LossyLink(endpoint(daemons[1])) as whole, \
            VllmRouter(tmp_path, *daemons, sources=[lossy.endpoint, whole.endpoint]) as router:
        wait_until(lambda: lossy.passed > 0, "the first batch")
        lossy.drop = True
        daemons[0].complete(prompt=TEXTS[0], max_tokens=1)
        wait_until(lambda: lossy.dropped > 0, "a lost batch")
        lossy.drop = False
        daemons[0].complete(prompt=TEXTS[1], max_tokens=1)

        def credited():
            router.cached(TEXTS[0])
            return router.credits()[-1] >= 12 * BLOCK
        wait_until(credited, "credit for what the lost batch told")
        assert router.cached(TEXTS[1]) >= 12 * BLOCK
