"""Runs many streams at once: a shared prefix is computed once, no request is lost, no block leaks."""

import json
import signal
import threading
import time

import pytest

from daemon import PATIENCE, Daemon

STREAMS = 64
PREFIX_TOKENS = 1500


def shared_prompt(daemon):
    """Returns the token ids of a prefix of PREFIX_TOKENS tokens that every stream shares."""
    text = " ".join(f"cache{i % 10} block{i % 7}" for i in range(PREFIX_TOKENS))
    return json.loads(daemon.request("POST", "/tokenize", {"prompt": text})[2])["tokens"][:PREFIX_TOKENS]


class Client(threading.Thread):
    """A thread that runs one streamed completion and records its status, usage and finish reason."""

    def __init__(self, daemon, prompt, max_tokens):
        super().__init__(daemon=True)
        self.server, self.prompt, self.max_tokens = daemon, prompt, max_tokens
        self.status, self.done, self.usage, self.finish = None, False, None, None
        self.started = threading.Event()

    def run(self):
        connection = self.server.connect()
        connection.request(
            "POST", "/v1/completions",
            json.dumps({
                "prompt": self.prompt, "max_tokens": self.max_tokens, "temperature": 0, "ignore_eos": True,
                "stream": True, "stream_options": {"include_usage": True}
            }), {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.status = response.status
        for line in response:
            self.started.set()
            if line == b"data: [DONE]\n":
                self.done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                self.usage = event["usage"] or self.usage
                for choice in event["choices"]:
                    self.finish = choice["finish_reason"] or self.finish
        connection.close()


def total(samples, name, **labels):
    return sum(value for (found, those), value in samples.items()
               if found == name and set(labels.items()) <= set(those))


@pytest.fixture
def daemon():
    with Daemon("--max-sequences", str(STREAMS), "--max-queue", "128", "--drain-seconds", "60") as started:
        yield started


def start(daemon, prefix, max_tokens):
    clients = [Client(daemon, prefix + [200 + i, 300 + i], max_tokens) for i in range(STREAMS)]
    for client in clients:
        client.start()
    return clients


def finish(clients):
    for client in clients:
        client.join(PATIENCE)
    assert not any(client.is_alive() for client in clients)
    assert [client.status for client in clients] == [200] * len(clients)


def test_a_shared_prefix_is_computed_once_and_nothing_leaks(daemon):
    prefix = shared_prompt(daemon)
    before = daemon.metrics()
    clients = start(daemon, prefix, max_tokens=4)
    finish(clients)
    assert all(client.done and client.finish == "length" for client in clients)
    assert all(client.usage["completion_tokens"] == 4 for client in clients)
    usages = [client.usage for client in clients]
    computed = sum(usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
                   for usage in usages)
    assert computed <= PREFIX_TOKENS + 2 + (STREAMS - 1) * (16 + 2)

    deadline = time.monotonic() + 10
    while total(daemon.metrics(), "prefixd_blocks", state="leased") and time.monotonic() < deadline:
        time.sleep(0.02)
    after = daemon.metrics()
    first, last = (total(samples, "prefixd_prompt_tokens_total", source="computed")
                   for samples in (before, after))
    assert last - first == computed
    assert total(after, "prefixd_blocks", state="leased") == 0
    assert total(after, "vllm:num_requests_running") == total(after, "vllm:num_requests_waiting") == 0


def test_sigterm_under_load_loses_no_running_request(daemon):
    clients = start(daemon, shared_prompt(daemon), max_tokens=200)
    for client in clients:
        assert client.started.wait(PATIENCE)
    daemon.signal(signal.SIGTERM)
    unfinished = sum(not client.done for client in clients)
    finish(clients)
    assert unfinished > STREAMS / 2, "most streams must still run when the signal arrives"
    assert all(client.done and client.usage["completion_tokens"] == 200 for client in clients)
    assert daemon.exit_code() == 0
