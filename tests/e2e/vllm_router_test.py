"""Tests that vllm-router sends a request to the daemon that has its prefix, by the KV events of two daemons.
It needs the program of that name: `build/test-venv/bin/pip install vllm-router==0.1.17`."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from daemon import Daemon, wait_until
from kv_events_test import BLOCK, endpoint
from prometheus_server import free_port

ROUTER = shutil.which("vllm-router", path=pathlib.Path(sys.executable).parent)
pytestmark = pytest.mark.skipif(ROUTER is None, reason="vllm-router is not installed")
# Long enough for 12 blocks, and different from the first one on.
TEXTS = [f"{i} is the number of this text, which keeps on for a while. " * 12 for i in range(4)]
EVENTS = ("--block-tokens", BLOCK, "--kv-events", "tcp://127.0.0.1:0")


class Router:
    """vllm-router before the daemons."""

    def __init__(self, folder, *daemons):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / f"router-{len(list(folder.iterdir()))}.log"
        command = [ROUTER, "--policy", "kv_aware", "--host", "127.0.0.1", "--port", self.url.split(":")[-1],
                   "--prometheus-port", str(free_port()), "--log-level", "debug", "--kv-event-block-size",
                   str(BLOCK), "--kv-event-model", "demo", "--worker-urls", *[d.url for d in daemons]]
        for daemon in daemons:
            command += ["--kv-event-source", f"{daemon.url}={endpoint(daemon)}"]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def __enter__(self):
        wait_until(lambda: self.logged("Starting server on"), "the router")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def logged(self, text):
        return text in self.log.read_text()

    def cached(self, text):
        """The tokens of a prompt that the daemon chosen for it had cached."""
        body = json.dumps({"model": "demo", "prompt": text + " more", "max_tokens": 1}).encode()
        request = urllib.request.Request(self.url + "/v1/completions", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["usage"]["prompt_tokens_details"]["cached_tokens"]

    def credits(self):
        log = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())
        return [int(tokens) for tokens in re.findall(r"credited_prefix_tokens=(\d+)", log)]


@contextlib.contextmanager
def two_daemons(*options, **fields):
    with Daemon(*EVENTS, *options, **fields) as one, Daemon(*EVENTS, *options, **fields) as two:
        yield one, two


def warm(daemons):
    for i, text in enumerate(TEXTS):
        daemons[i % 2].complete(prompt=text, max_tokens=1)


def test_a_request_goes_to_the_daemon_that_has_its_prefix(tmp_path):
    with two_daemons() as daemons:
        warm(daemons)
        with Router(tmp_path, *daemons) as late:  # it has seen none of these requests
            wait_until(lambda: late.cached(TEXTS[0]) and late.credits()[-1], "credit for what was there")
            for i in (1, 2, 3, 1, 3, 2, 0):
                assert late.cached(TEXTS[i]) >= 12 * BLOCK, i
                assert late.credits()[-1] >= 12 * BLOCK, i


def test_what_was_evicted_has_no_credit(tmp_path):
    with two_daemons("--context", 512, device_cache="1MiB") as daemons, \
            Router(tmp_path, *daemons) as router:
        warm(daemons)
        wait_until(lambda: router.cached(TEXTS[0]) and router.credits()[-1], "credit")

        def credit_after_eviction():
            for seed in range(12):
                for daemon in daemons:
                    daemon.complete(prompt=[seed + 1] * 300, max_tokens=1)
            router.cached(TEXTS[3])
            return router.credits()[-1]
        wait_until(lambda: credit_after_eviction() == 0, "no credit")


def test_when_a_daemon_is_killed_the_other_one_answers(tmp_path):
    with two_daemons() as (one, two):
        warm((one, two))
        with Router(tmp_path, one, two) as router:
            wait_until(lambda: router.cached(TEXTS[1]) and router.credits()[-1], "credit")
            two.signal(signal.SIGKILL)
            two.exit_code()
            assert router.cached(TEXTS[0]) >= 12 * BLOCK
            router.cached(TEXTS[1])
            assert router.cached(TEXTS[1]) >= 12 * BLOCK, "the other one has computed it by now"
