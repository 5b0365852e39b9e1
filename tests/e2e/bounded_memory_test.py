"""Sends more than the daemon can hold: large bodies, readers that do not read, log probabilities of the whole
vocabulary. The memory of the process stays within the account of bytes in flight, short requests are answered
meanwhile, and the account is empty afterwards.

PREFIXD_FULL=1 runs more of everything, for some minutes.
"""

import json
import os
import random
import threading
import time

import pytest

from daemon import PATIENCE, Daemon, dial, wait_until

FULL = os.environ.get("PREFIXD_FULL") == "1"
MIB = 1 << 20
BODY = 8 * MIB
READER_SECONDS = 4


def memory(daemon, name):
    """A value of /proc/PID/status in bytes."""
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(name)


def value(daemon, name):
    return daemon.metrics()[(name, ())]


class Peak:
    """Compares the peak memory of the daemon with its memory at rest and the limit of its account.

    KV blocks have a limit of their own; those that were used for the first time do not count.
    """

    def __init__(self, daemon):
        self.daemon = daemon
        for _ in range(3):  # touch what every request touches
            daemon.complete(prompt="warm up " * 100, max_tokens=8)
        daemon.request("POST", "/tokenize", {"content": "warm up " * 4000, "with_pieces": True})
        self.limit = value(daemon, "prefixd_inflight_limit_bytes")
        self.rest = memory(daemon, "VmRSS") - self.blocks()

    def blocks(self):
        return self.daemon.metrics()[("prefixd_tier_bytes", (("tier", "device"),))]

    def check(self, what):
        grown = memory(self.daemon, "VmHWM") - self.blocks() - self.rest
        print(f"{what}: at rest {self.rest / MIB:.0f} MiB, peak +{grown / MIB:.0f} MiB, "
              f"limit {self.limit / MIB:.0f} MiB")
        assert grown <= 1.1 * self.limit
        peak, planned = memory(self.daemon, "VmHWM"), self.daemon.memory_plan()["plan_bytes"]
        print(f"{what}: peak {peak / MIB:.0f} MiB of {planned / MIB:.0f} MiB that validate plans")
        assert peak <= 1.1 * planned
        wait_until(lambda: value(self.daemon, "prefixd_inflight_bytes") == 0, "an empty account")


class ShortRequests(threading.Thread):
    """Sends short requests, one after the other, until stop() and records their statuses."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.server, self.statuses, self.ending = daemon, [], threading.Event()
        self.start()

    def run(self):
        while not self.ending.is_set():
            self.statuses.append(self.server.get("/health")[0])
            self.statuses.append(self.server.get("/metrics")[0])
            self.statuses.append(
                self.server.request("POST", "/v1/completions", {"prompt": "a b", "max_tokens": 2})[0])

    def stop(self):
        self.ending.set()
        self.join(PATIENCE)
        assert not self.is_alive()
        assert len(self.statuses) >= 6 and set(self.statuses) == {200}, self.statuses


def head(path, length):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


def send(daemon, path, body):
    """Sends a request and returns its socket. The body may be cut off when the daemon refuses it early."""
    connection = dial(daemon.url)
    try:
        connection.sendall(head(path, len(body)))
        connection.sendall(body)
    except OSError:
        pass
    return connection


def status_of(connection):
    """Reads the whole response. Returns its status, or 0 when the connection broke."""
    received = 0
    first = b""
    try:
        while True:
            part = connection.recv(1 << 20)
            first = first or part
            received += len(part)
            short = received == len(part) and b"Content-Length" in part
            if not part or short or part.endswith(b"0\r\n\r\n"):
                break
    except OSError:
        pass
    connection.close()
    return int(first.split(b" ", 2)[1]) if first else 0


def hostile_text(length):
    draw = random.Random(7)
    return "".join(draw.choices("qxzjkvwQXZ#%&@~^ ", k=length))


def run_all(jobs):
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10 * PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture(name="daemon")
def running_daemon():
    with Daemon("--log-level", "warning") as one:
        yield one


@pytest.fixture(name="small_daemon")
def running_small_daemon():
    """A daemon that a few readers or log probabilities fill."""
    with Daemon("--max-inflight", "256MiB", "--max-logprobs", "-1", "--reader-seconds", READER_SECONDS,
                "--log-level", "warning") as one:
        yield one


def test_large_bodies_at_once(daemon):
    peak, text = Peak(daemon), hostile_text(BODY)
    bodies = [("/v1/completions", json.dumps({"prompt": text, "max_tokens": 1}).encode()),
              ("/tokenize", json.dumps({"content": text, "with_pieces": True}).encode()),
              ("/v1/completions", json.dumps({"prompt": text, "truncate_prompt_tokens": 8,
                                              "max_tokens": 1}).encode()),
              ("/tokenize", b'{"prompt":"a","x":[' + b"[0]," * (BODY // 4) + b"0]}")]
    short, statuses = ShortRequests(daemon), []

    def post(path, body):
        statuses.append(status_of(send(daemon, path, body)))

    for _ in range(10 if FULL else 1):
        run_all([lambda pair=bodies[i % 4]: post(*pair) for i in range(200)])
    short.stop()
    print({status: statuses.count(status) for status in sorted(set(statuses))})
    assert set(statuses) <= {0, 200, 400, 413, 503}
    assert statuses.count(200) > 0 and statuses.count(503) > 0
    assert daemon.request("POST", "/tokenize", {"content": text, "with_pieces": True})[0] == 200
    peak.check("large bodies")


def test_calls_of_many_small_values(small_daemon):
    """The text of a call is written again before the conversation is rendered."""
    peak, statuses = Peak(small_daemon), []
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": [{}] * (2 * MIB)}}
    body = {"max_tokens": 1, "messages": [{"role": "assistant", "content": [call]}]}

    def post():
        status, _, text = small_daemon.request("POST", "/v1/messages", body)
        assert "tool_result" in text or "--max-inflight" in text, text[:1000]
        statuses.append(status)

    run_all([post] * 3)
    assert 400 in statuses and set(statuses) <= {400, 503}, statuses
    peak.check("calls of many values")


def test_readers_that_do_not_read(small_daemon):
    daemon = small_daemon
    peak, text = Peak(daemon), hostile_text(BODY // 2)
    body = json.dumps({"content": text, "with_pieces": True}).encode()
    short, readers = ShortRequests(daemon), []

    def post():
        readers.append(send(daemon, "/tokenize", body))

    run_all([post] * (120 if FULL else 48))
    stream = json.dumps({"prompt": "a", "max_tokens": 4000, "ignore_eos": True, "stream": True,
                         "logprobs": 2044}).encode()
    for _ in range(16):
        readers.append(send(daemon, "/v1/completions", stream))
    begun = time.monotonic()
    while time.monotonic() - begun < 3 * READER_SECONDS:
        for reader in readers[::2]:  # a byte a second; the others read nothing
            try:
                reader.recv(1)
            except OSError:
                pass
        time.sleep(1)
    # The streams that did not read ended at their backlog, and their sequences with them.
    wait_until(lambda: sum(v for (name, _), v in daemon.metrics().items()
                           if name in ("vllm:num_requests_running", "vllm:num_requests_waiting")) == 0,
               "no running request")
    short.stop()
    assert value(daemon, "prefixd_slow_readers_total") >= 1
    wait_until(lambda: daemon.logged("a client did not read its response"), "the log line of a slow reader")
    peak.check("slow readers")
    for reader in readers:
        reader.close()


def test_log_probabilities_of_the_whole_vocabulary(small_daemon):
    daemon = small_daemon
    peak, short, statuses = Peak(daemon), ShortRequests(daemon), []

    def post(fields):
        status, _, text = daemon.request("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 2044,
            "ignore_eos": True, **fields})
        assert status == 200 or "--max-inflight" in text, text[:1000]
        statuses.append(status)

    post({"max_tokens": 4000})
    assert statuses == [400], "it cannot fit, which is known beforehand"
    post({"max_tokens": 40})
    assert statuses == [400, 200]
    run_all([lambda: post({"max_tokens": 200})] * (64 if FULL else 12))
    run_all([lambda: post({})] * (128 if FULL else 40))
    print({status: statuses.count(status) for status in sorted(set(statuses))})
    short.stop()
    assert 413 in statuses or 503 in statuses
    peak.check("log probabilities")
    wait_until(lambda: memory(daemon, "VmRSS") - peak.rest <= peak.limit / 3, "freed memory to return")
