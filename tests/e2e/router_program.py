"""Runs the routers of tests/e2e/routers/run, which installs them below build/routers, for the tests."""

import contextlib
import json
import subprocess
import urllib.error
import urllib.request

import pytest

from daemon import PATIENCE, ROOT, Daemon, wait_until
from kv_endpoints import ready
from prometheus_server import free_port

FOLDER = ROOT / "build/routers"


def program(name, file=None):
    """The path of a program of the virtual environment `name`."""
    return FOLDER / name / "bin" / (file or name)


def installed(name, file=None):
    """A mark of tests: they are skipped when the program is not there."""
    return pytest.mark.skipif(not program(name, file).exists(), reason=f"{name} is not installed")


def ask(url, path, **fields):
    """Returns the text of an answer."""
    request = urllib.request.Request(url + path, json.dumps(fields).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


class Router:
    """A context manager that runs a router until its end, with its output in a file. The arguments follow
    `--host` and `--port`, of which each has its own."""

    def __init__(self, folder, *command, answers="/health"):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"router-{port}.log"
        self.answers = answers
        with self.log.open("w") as out:
            self.process = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=out, stderr=out)

    def __enter__(self):
        wait_until(self.ready, "the router")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(self.url + self.answers, timeout=PATIENCE) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, path, **fields):
        return ask(self.url, path, **fields)

    def cached(self, prompt):
        """The tokens of a prompt that the daemon chosen for it had cached."""
        answer = json.loads(self.ask("/v1/completions", model="demo", prompt=prompt, max_tokens=1))
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


@contextlib.contextmanager
def two_daemons(*options, **fields):
    with Daemon(*options, **fields) as one, Daemon(*options, **fields) as two:
        yield ready(one), ready(two)
