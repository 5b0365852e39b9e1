"""Runs the daemon as a process for the tests of this folder: starts it, sends requests and stops it.

With PREFIXD_TEST_TLS=1 all daemons with a TCP address take TLS, and official clients trust their certificate.
"""

import http.client
import json
import os
import pathlib
import queue
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("PREFIXD_PROGRAM", ROOT / "build/release/prefixd"))
MODEL = ROOT / "deploy/models/demo"
PATIENCE = 60  # seconds; a wait that takes longer fails the test


def make_certificate(folder, name="certificate"):
    """Returns the paths of a new certificate of this machine and of its key, as PEM."""
    certificate, key = pathlib.Path(folder) / f"{name}.pem", pathlib.Path(folder) / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", certificate,
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True, timeout=PATIENCE)
    return certificate, key


TLS = None  # the certificate and key of all daemons
if os.environ.get("PREFIXD_TEST_TLS") == "1":
    _FOLDER = tempfile.TemporaryDirectory()
    TLS = make_certificate(_FOLDER.name)
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = str(TLS[0])


def reloaded(option):
    """Returns the words of the log on a reload of the option. Over TLS it reads the certificate, too."""
    return f"reloaded changed={option}" if TLS is None else f'reloaded changed="{option} tls-cert"'


def address_of(url):
    parsed = urllib.parse.urlsplit(url)
    return parsed.hostname, parsed.port


def http_connection(url, certificate=None):
    """Returns a connection to the server of the URL. `certificate`: what it trusts, too."""
    if not url.startswith("https:"):
        return http.client.HTTPConnection(*address_of(url), timeout=PATIENCE)
    trust = ssl.create_default_context(cafile=certificate)
    return http.client.HTTPSConnection(*address_of(url), timeout=PATIENCE, context=trust)


def dial(url, certificate=None):
    """Returns a socket that is connected to the server of the URL, over TLS if it takes TLS."""
    connection = http_connection(url, certificate)
    connection.connect()
    return connection.sock


def environment_of(variables):
    """Returns the variables of a process of prefixd, which warns of those that only the tests know."""
    own = {name: value for name, value in os.environ.items()
           if name not in ("PREFIXD_PROGRAM", "PREFIXD_TEST_TLS")}
    return {**own, **{name: str(value) for name, value in (variables or {}).items()}}


def run(*arguments, environment=None, program=PROGRAM):
    """Runs a command that ends by itself. Returns the CompletedProcess, with text output."""
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE,
                          env=environment_of(environment))


class Daemon:
    """A context manager that runs `prefixd serve` with the demo model and a small cache.

    By default it listens on a free port of the loopback interface and waits until the daemon listens.
    `listener` is a listening socket, which it gets as from a service manager. `tls` is a certificate and its
    key, with which it takes TLS.
    """

    def __init__(self, *arguments, environment=None, listen="127.0.0.1:0", wait=True, model=MODEL,
                 device_cache="64MiB", program=PROGRAM, listener=None, tls=TLS):
        self.options = ["--model", str(model), "--listen", listen, "--device-cache", device_cache,
                        *map(str, arguments)]
        self.certificate = None
        if tls is not None and not listen.startswith("unix:"):
            self.certificate = tls[0]
            self.options += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        command, passed = [program, "serve", *self.options], ()
        if listener is not None:
            passed = (listener.fileno(),)
            start = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" "$@" 3<&{passed[0]}'
            command = ["bash", "-c", start, *command]  # a descriptor may have two digits
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=environment_of(environment), pass_fds=passed)
        self.lines = queue.Queue()
        self.log = []
        self.readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.log.append), daemon=True)
        ]
        for reader in self.readers:
            reader.start()
        self.url = self._wait_until_listening() if wait else None

    def memory_plan(self):
        """Returns the memory plan that `validate` prints for the options of this daemon, in bytes."""
        done = run("validate", "--json", *self.options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["memory"]

    @staticmethod
    def _read(stream, put):
        for line in stream:
            put(line.rstrip("\n"))
        put(None)

    def _wait_until_listening(self):
        line = self.lines.get(timeout=PATIENCE)
        if line is None or not line.startswith("listening on "):
            self.process.kill()
            raise AssertionError(f"expected the line 'listening on ...', got {line!r}; log: {self.log}")
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
        return http_connection(self.url, self.certificate)

    def request(self, method, path, body=None, headers=None):
        """Sends a JSON request. Returns (status, headers, text)."""
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
        """Requests a completion. Returns its JSON, with the response headers as "headers"."""
        status, headers, text = self.request("POST", "/v1/completions",
                                             {"model": "demo", "temperature": 0, **fields})
        assert status == 200, text
        return {**json.loads(text), "headers": headers}

    def start_stream(self, **fields):
        """Starts a streamed completion. Returns the response after its first event, which is in `first`."""
        connection = self.connect()
        connection.request("POST", "/v1/completions",
                           json.dumps({"model": "demo", "temperature": 0, "stream": True, **fields}),
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
        """Returns a dictionary from (sample name, sorted labels) to value."""
        from prometheus_client.parser import text_string_to_metric_families
        samples = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2]):
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in samples, key
                samples[key] = sample.value
        return samples


def wait_until(condition, what):
    """Waits until condition() is true. Fails with `what` after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for: {what}"
        time.sleep(0.02)
