"""Starts a server of bench/peers and measures it through serve_bench, row by row."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from peers import BUILD, PEERS, Failed

START_SECONDS = 900  # vLLM compiles at every start

# The rows: what serve_bench is asked for, on which tree, and whether a foreign thread is busy meanwhile. In
# this order, because a server that has just started has an empty tree. Each row has its own seed, so that no
# prompt comes twice.
PREFILL = ("--workload", "cold", "--clients", 1, "--requests", 3, "--output-tokens", 2)
ROWS = {
    "shared": ("--workload", "shared"),
    "cold": ("--workload", "cold"),
    "turns": ("--workload", "turns"),
    "prefill512": (*PREFILL, "--prefix-words", 490, "--question-words", 10),
    "prefill2048": (*PREFILL, "--prefix-words", 2020, "--question-words", 16),
    "decode": ("--workload", "cold", "--clients", 1, "--requests", 1, "--prefix-words", 16,
               "--question-words", 8, "--output-tokens", 128),
    "shared_used": ("--workload", "shared", "--used-tree"),
    "cold_used": ("--workload", "cold", "--used-tree"),
    "turns_used": ("--workload", "turns", "--used-tree"),
    "shared_busy": ("--workload", "shared"),
    "own": (),  # the peer's own bench, without a server
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server as a process group of its own, which ends with it."""

    def __init__(self, peer, folder, model, weights, log, more=()):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        command, environment = peer.server(folder, model, weights, port)
        begun = time.monotonic()
        with open(log, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [str(word) for word in [*command, *more]], stdout=file, stderr=file, process_group=0,
                cwd=pathlib.Path(log).parent,  # some write files where they are started
                env={**os.environ, **environment})
        try:
            while not self.answers(peer.ready):
                if self.process.poll() is not None:
                    raise Failed(f"the server ended with code {self.process.returncode}")
                if time.monotonic() > begun + START_SECONDS:
                    raise Failed(f"the server is not ready after {START_SECONDS} s")
                time.sleep(0.1)
        except BaseException:
            self.end()
            raise
        self.start_seconds = time.monotonic() - begun

    def answers(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass


class BusyThread:
    """A foreign process that never waits."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def how_it_ended(code):
    """What subprocess says as `returncode`, in words: a compiled peer may end by SIGILL."""
    return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"


def run_program(command, seconds):
    """Returns the stdout of a program. Throws Failed when it fails or takes longer."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done within {seconds} s") from None
    if done.returncode != 0:
        raise Failed(f"{pathlib.Path(command[0]).name}: {how_it_ended(done.returncode)}: "
                     f"{(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def figures_of(row, report):
    """The figures of a row, from what serve_bench reports: by name, value and unit."""
    found = {entry["name"].partition(": ")[2]: entry for entry in report["results"]}
    wall, ttft = found["wall"]["value"], found["ttft_p50"]
    if row.startswith("prefill"):
        tokens = found["prompt"]["prompt_tokens"] / found["wall"]["requests_ok"]
        return {row: (tokens / ttft["value"], "tokens/s")}
    if row == "decode":  # one request: its first token comes with the prompt
        return {row: ((found["output"]["output_tokens"] - 1) / (wall - ttft["value"]), "tokens/s")}
    return {f"{row} wall": (wall, "s"), f"{row} ttft_p50": (ttft["value"], "s"),
            f"{row} ttft_p95": (ttft["ttft_p95"], "s"),
            f"{row} cached": (found["cached_share"]["value"], "share")}


class Contestant:
    """A peer with one format of weights."""

    def __init__(self, name, weights, folder, model, options):
        self.name, self.weights, self.folder = name, weights, folder
        self.peer = PEERS[name][0]
        self.model, self.options = model, options
        self.label = f"{name} {weights}"
        self.server, self.more, self.remark = None, (), None

    def prepare(self):
        """Makes the files of the model that the server reads, so that no start includes it."""
        self.peer.server(self.folder, self.model, self.weights, 0)

    def start(self):
        try:
            self.start_with(self.more)
        except Failed as error:
            if not self.peer.fallback or self.more:
                raise
            self.end()
            self.more = self.peer.fallback
            reason = str(error).partition(";")[0].splitlines()[0]
            self.remark = f"{self.label}: started with {' '.join(self.more)}, because without: {reason}"
            self.start_with(self.more)

    def start_with(self, more):
        """Starts the server with further words in its command, and has it answer."""
        log = pathlib.Path(self.options.logs) / f"{self.label.replace(' ', '_')}.log"
        try:
            self.server = Server(self.peer, self.folder, self.model, self.weights, log, more)
        except Failed as error:
            text = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise Failed(f"{error}; {log} ends with:\n{text}") from None
        self.serve_bench("--workload", "cold", "--requests", 2, "--prefix-words", 64, "--output-tokens", 8,
                         "--seed", 7)

    def end(self):
        if self.server is not None:
            self.server.end()
        self.server = None

    def serve_bench(self, *arguments):
        report = pathlib.Path(self.options.logs) / "report.json"
        run_program([BUILD / "bench/serve_bench", self.server.url, "--json", report, "--timeout",
                     self.options.limit, *arguments], self.options.limit)
        return json.loads(report.read_text(encoding="utf-8"))

    def measure(self, row, number):
        """Returns the figures of a row in the round of that number."""
        if row == "own":
            return self.run_own_bench()
        figures = {}
        if self.server is None:
            self.start()
            figures["start"] = (self.server.start_seconds, "s")
        seed = 1_000_000 * (number + 1) + 20_000 * list(ROWS).index(row)
        if row.endswith("_busy"):
            with BusyThread():
                report = self.serve_bench(*ROWS[row], "--seed", seed)
        else:
            report = self.serve_bench(*ROWS[row], "--seed", seed)
        return {**figures, **figures_of(row, report)}

    def run_own_bench(self):
        if self.peer.own_bench is None:
            return {}
        self.end()  # the server, so that nothing else runs
        figures = self.peer.own_bench(self.folder, self.model, self.weights,
                                      lambda command: run_program(command, self.options.limit))
        return {f"own {name}": (value, "tokens/s") for name, value in figures.items()}


def measure_rows(one, rows, number, keep, fail):
    """Measures a contestant in one round. The server of a row that failed may still be at work, so the next
    row has a new one; a server that does not start is given up."""
    for row in rows:
        try:
            keep(row, one.measure(row, number))
        except Failed as error:
            fail(row, error)
            started = one.server is not None
            one.end()
            if not started and row != "own":
                return


def measure_rounds(contestants, rows, rounds, say, save=lambda runs, failures: None):
    """Measures every contestant in every round, in an order that turns. Returns the runs by label and figure,
    each a list of values and a unit, and the failures as texts; `save` gets both after every server."""
    runs, failures = {one.label: {} for one in contestants}, []
    for number in range(rounds):
        shift = number % len(contestants)
        for one in contestants[shift:] + contestants[:shift]:
            def keep(row, figures, label=one.label):
                for name, (value, unit) in figures.items():
                    if value is not None:
                        runs[label].setdefault(name, ([], unit))[0].append(value)
                say(f"{time.strftime('%H:%M:%S')} round {number + 1}: {label}: {row}")

            def fail(row, error, label=one.label):
                failures.append(f"{label}: {row}: {error}")
                say(f"{time.strftime('%H:%M:%S')} round {number + 1}: {failures[-1]}")

            try:
                measure_rows(one, rows, number, keep, fail)
            finally:
                one.end()  # also when the program is told to end
            save(runs, failures)
    return runs, failures
