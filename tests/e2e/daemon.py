"""The daemon as a process, for the tests of this folder: start it on a free port, talk to it, stop it."""

import http.client
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("PREFIXD_PROGRAM", ROOT / "build/release/prefixd"))
MODEL = ROOT / "deploy/models/demo"
PATIENCE = 60  # seconds; only a hang takes this long


def run(*arguments, environment=None):
    """A command that ends by itself: the CompletedProcess, with text."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, **(environment or {})})


class Daemon:
    """A context: `prefixd serve` with the demo model and a small cache, on a free port of the loopback."""

    def __init__(self, *arguments, environment=None, listen="127.0.0.1:0", wait=True):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--model", MODEL, "--listen", listen, "--device-cache", "64MiB", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        self.lines = queue.Queue()
        self.log = []
        self.readers = [threading.Thread(target=self._read, args=(self.process.stdout, self.lines.put), daemon=True),
                        threading.Thread(target=self._read, args=(self.process.stderr, self.log.append), daemon=True)]
        for reader in self.readers:
            reader.start()
        self.url = self._wait_until_listening() if wait else None

    @staticmethod
    def _read(stream, put):
        for line in stream:
            put(line.rstrip("\n"))
        put(None)

    def _wait_until_listening(self):
        line = self.lines.get(timeout=PATIENCE)
        if line is None or not line.startswith("listening on "):
            self.process.kill()
            raise AssertionError(f"no listening line but {line!r}; log: {self.log}")
        return line.removeprefix("listening on ")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()

    def connect(self):
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, text)"""
        connection = self.connect()
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read().decode()
        connection.close()
        return answer

    def get(self, path):
        return self.request("GET", path)

    def complete(self, **fields):
        """The JSON of a completion."""
        status, headers, text = self.request("POST", "/v1/completions", {"model": "demo", "temperature": 0, **fields})
        assert status == 200, text
        return {**json.loads(text), "headers": headers}

    def start_stream(self, **fields):
        """The response of a streamed completion, after its first event."""
        connection = self.connect()
        connection.request("POST", "/v1/completions", json.dumps({"model": "demo", "temperature": 0, "stream": True, **fields}),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.first = response.readline().decode()
        return response

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def exit_code(self):
        code = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return code

    def logged(self, words):
        return any(words in (line or "") for line in self.log)

    def metrics(self):
        """Sample name and sorted labels to value."""
        from prometheus_client.parser import text_string_to_metric_families
        samples = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2]):
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in samples, key
                samples[key] = sample.value
        return samples


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
