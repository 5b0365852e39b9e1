#!/usr/bin/env python3
"""Starts the daemon and measures what a long prompt does to everybody else.

    bench/step_time.py MODEL [--program FILE] [--tokens 4096] [--threads 1] [--json FILE] [OPTION...]

It runs build/release/prefixd (--program) with the model folder MODEL; further options go to `prefixd serve`.
It needs nothing but Python. Rows:

    scrapes_right       scrapes of /metrics, of 100 during the long prompt, in which one request runs and
                        three wait, with --max-sequences 1
    watchdog_gap        longest time between two keep-alives to the service manager, from the first request on
    cancel              longest time from closing a connection, during a long prompt, to a scrape in which no
                        request runs; of five
    itl_alone, itl      99th percentile of the time between two tokens of a stream, alone and while the long
                        prompt is computed
    step, prefill       mean time of those steps, and tokens of the long prompt per second
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRAPES = 100
CANCELS = 5


class Server:
    """The daemon as a process, and the times of its keep-alives."""

    def __init__(self, options, *more):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        self.pings = []
        threading.Thread(target=self._listen, daemon=True).start()
        environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}
        command = [options.program, "serve", "--model", options.model, "--threads", options.threads,
                   "--listen", "127.0.0.1:0", *options.more, *more]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True,
                                        env=environment)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"the daemon does not listen: {' '.join(map(str, command))}")
        self.address = line.strip().removeprefix("listening on http://")

    def _listen(self):
        while True:
            if b"WATCHDOG=1" in self.notify.recv(4096):
                self.pings.append(time.monotonic())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def send(self, tokens, seed, max_tokens, stream=False):
        """Sends a request with a prompt of random tokens. Returns its connection; it does not read."""
        connection = http.client.HTTPConnection(self.address, timeout=3600)
        prompt = random.Random(seed).choices(range(10, 1900), k=tokens)
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True,
                "stream": stream}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def metrics(self):
        """Returns the values of /metrics by name, summed over labels."""
        connection = http.client.HTTPConnection(self.address, timeout=3600)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        values = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name = line.split("{")[0].split(" ")[0]
                values[name] = values.get(name, 0) + float(line.rsplit(" ", 1)[1])
        return values

    def gauges(self):
        values = self.metrics()
        return values["vllm:num_requests_running"], values["vllm:num_requests_waiting"]

    def wait_for(self, gauges):
        while self.gauges() != gauges:
            time.sleep(0.01)


def finished(connection):
    """Waits for the answer."""
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        sys.exit(f"HTTP {response.status}: {text.decode()}")
    connection.close()


def measure_others(options):
    """Gauges, keep-alives and cancellations beside one long prompt at a time."""
    with Server(options, "--max-sequences", 1) as server:
        begin = time.monotonic()
        long_prompt = server.send(options.tokens, 1, 1)
        server.wait_for((1, 0))
        waiting = [server.send(20, seed, 1) for seed in (2, 3, 4)]
        server.wait_for((1, 3))
        answered = []
        reader = threading.Thread(target=lambda: (finished(long_prompt), answered.append(True)))
        reader.start()
        right = 0
        for _ in range(SCRAPES):
            right += server.gauges() == (1, 3)
            time.sleep(0.05)
        if answered:
            sys.exit("the long prompt was answered before the last scrape: more --tokens")
        reader.join()
        for connection in waiting:
            finished(connection)
        cancels = []
        for i in range(CANCELS):
            connection = server.send(options.tokens, 10 + i, 1)
            server.wait_for((1, 0))
            time.sleep(1.5 + 0.37 * i)
            cancelled = time.monotonic()
            connection.close()
            server.wait_for((0, 0))
            cancels.append(time.monotonic() - cancelled)
        end = time.monotonic()
        times = [begin, *(ping for ping in server.pings if begin < ping < end), end]
        gaps = [after - before for before, after in zip(times, times[1:])]
    return [("scrapes_right", right, "scrapes", {"of": SCRAPES}),
            ("watchdog_gap", max(gaps), "s", {"keep_alives": len(times) - 2, "seconds": end - begin}),
            ("cancel", max(cancels), "s", {"cancellations": CANCELS})]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Stream(threading.Thread):
    """Reads a stream and notes the time of every event."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection, self.times = connection, []

    def run(self):
        for line in self.connection.getresponse():
            if line.startswith(b"data: {"):
                self.times.append(time.monotonic())

    def gaps(self, begin, end):
        times = [t for t in self.times if begin <= t <= end]
        return [after - before for before, after in zip(times, times[1:])]


def measure_stream(options):
    """The tokens of a stream, alone and beside a long prompt."""
    with Server(options) as server:
        stream = Stream(server.send(20, 1, options.tokens - 100, stream=True))
        stream.start()
        while len(stream.times) < 100:
            time.sleep(0.01)
        before, begin = server.metrics(), time.monotonic()
        alone = stream.gaps(0, begin)
        finished(server.send(options.tokens, 2, 1))
        end, after = time.monotonic(), server.metrics()
        gaps = stream.gaps(begin, end)

        def grown(name):
            return after[name] - before[name]

        step = grown("prefixd_step_seconds_sum") / grown("prefixd_step_seconds_count")
    return [("itl_alone", percentile(alone, 0.99), "s", {"p50": percentile(alone, 0.5)}),
            ("itl", percentile(gaps, 0.99), "s",
             {"p50": percentile(gaps, 0.5), "max": max(gaps), "tokens": len(gaps)}),
            ("step", step, "s", {"steps": int(grown("prefixd_step_seconds_count"))}),
            ("prefill", options.tokens / (end - begin), "tokens/s", {})]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default=ROOT / "build/release/prefixd")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--json")
    options, options.more = parser.parse_known_args()
    rows = []
    for measure in (measure_others, measure_stream):
        for name, value, unit, more in measure(options):
            rows.append({"name": name, "value": value, "unit": unit, **more})
            details = "  ".join(f"{key} {figure:.4g}" for key, figure in more.items())
            print(f"{name:16}{value:10.4g} {unit:10}{details}", flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
