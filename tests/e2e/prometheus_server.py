"""Runs a real Prometheus for the tests of this folder, with the configuration and the rules of deploy/."""

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from daemon import ROOT, PATIENCE, wait_until

PROGRAM = shutil.which("prometheus")
FOLDER = ROOT / "deploy/prometheus"
INTERVAL = "500ms"


def replaced(text, shipped, value):
    assert shipped in text, shipped
    return text.replace(shipped, value)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A context manager that scrapes `target` (ADDR:PORT) as deploy/prometheus/prometheus.yml says, but twice
    a second, and evaluates the alerts as often."""

    def __init__(self, folder, target):
        folder.mkdir()
        rules = (FOLDER / "prefixd.rules.yml").read_text()
        (folder / "prefixd.rules.yml").write_text(replaced(rules, "interval: 1m", f"interval: {INTERVAL}"))
        config = (FOLDER / "prometheus.yml").read_text()
        config = replaced(config, "scrape_interval: 15s", f"scrape_interval: {INTERVAL}")
        (folder / "prometheus.yml").write_text(replaced(config, "127.0.0.1:8080", target))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [PROGRAM, f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn",
                 f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={self.url[7:]}"],
                stdout=log, stderr=log)
        self.start = time.time()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def api(self, path, **fields):
        """Returns `data` of an answer, or None while Prometheus starts."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(fields)}",
                                        timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None
            raise AssertionError(f"{fields}: {error.read().decode()}") from error
        except urllib.error.URLError:
            return None

    def now(self, expression):
        """The values of an expression now; empty while Prometheus starts."""
        data = self.api("query", query=expression) or {"result": []}
        return [float(series["value"][1]) for series in data["result"]]

    def over_run(self, expression):
        """The values of all series of an expression, at every scrape since the start, as one list."""
        data = self.api("query_range", query=expression, start=self.start, end=time.time(), step=INTERVAL)
        return [float(value) for series in data["result"] for _, value in series["values"]]

    def labels_over_run(self, expression, label):
        data = self.api("query_range", query=expression, start=self.start, end=time.time(), step=INTERVAL)
        return {series["metric"][label] for series in data["result"]}

    def wait_for(self, expression, value, what):
        wait_until(lambda: self.now(expression) == [value], what)


def is_finite(values):
    return all(math.isfinite(value) for value in values)
