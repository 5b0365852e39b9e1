"""The daemon as a process that is measured: what the programs of this folder that start one have in common.

It needs nothing but Python.
"""

import argparse
import atexit
import http.client
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVE = ROOT / "build/release/bench/serve_bench"


class Server:
    """`prefixd serve` with the model, the program and the further options of the command line."""

    def __init__(self, options, *more, environment=None):
        self.log = pathlib.Path(options.log)
        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        self.command = list(map(str, [options.program, "serve", "--model", options.model, "--listen",
                                      "127.0.0.1:0", *options.more, *more]))
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True,
                                        stderr=open(self.log, "a", encoding="utf-8"),
                                        env={**os.environ, **(environment or {})})
        atexit.register(self.process.kill)  # after an error; otherwise end() was first
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"the daemon does not listen: {' '.join(self.command)}\n{self.logged()[-2000:]}")
        self.url = line.split()[-1]
        self.headers = {}  # of all requests

    def logged(self):
        with open(self.log, encoding="utf-8") as file:
            file.seek(self.log_begins)
            return file.read()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=3600)
        connection.request(method, path, body, {"Content-Type": "application/json", **self.headers})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            sys.exit(f"{path}: {response.status} {text}")
        return text

    def ask(self, prompt):
        """Returns the seconds to the only token, the cached tokens and the token."""
        body = json.dumps({"prompt": prompt, "max_tokens": 1, "temperature": 0, "ignore_eos": True,
                           "return_token_ids": True})
        begun = time.monotonic()
        answer = json.loads(self.request("POST", "/v1/completions", body))
        seconds = time.monotonic() - begun
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return seconds, cached, answer["choices"][0]["token_ids"]

    def metric(self, name, labels=""):
        found = re.search(rf"^{re.escape(name + labels)} (\S+)$", self.request("GET", "/metrics"), re.M)
        return float(found.group(1))

    def metrics(self, name):
        """Returns the samples of a metric that has labels, by the text between the braces."""
        found = re.findall(rf"^{re.escape(name)}\{{(.*)\}} (\S+)$", self.request("GET", "/metrics"), re.M)
        return {labels: float(value) for labels, value in found}

    def leased_blocks(self):
        return sum(value for labels, value in self.metrics("prefixd_blocks").items() if "leased" in labels)

    def wait_until_spilled(self):
        while self.metric("prefixd_spill_pending_bytes") > 0:
            time.sleep(0.05)

    def wait_until_scanned(self):
        while "the disk cache is scanned" not in self.logged():
            if self.process.poll() is not None:
                sys.exit(f"the daemon ended: {' '.join(self.command)}\n{self.logged()[-2000:]}")
            time.sleep(0.01)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait()


def plan_of(options, *more):
    """What `validate` says of the model, with the further options."""
    command = [options.program, "validate", "--json", "--model", options.model, *more]
    return json.loads(subprocess.run(list(map(str, command)), capture_output=True, text=True,
                                     check=True).stdout)


def print_machine(options):
    plan = plan_of(options)
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    cpu = re.search(r"model name\s*: (.*)", flags).group(1)
    sets = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if f" {name} " in flags]
    machine = {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "sets": sets, "load": os.getloadavg()[0],
               "prefill": plan["prefill"], "reuse": plan["reuse"]}
    print("machine:", json.dumps(machine), flush=True)
    return machine


def prompt_of(tokens, seed):
    draw = random.Random(seed)
    return [draw.randrange(1, 1900) for _ in range(tokens)]


def run_load(options, server, *arguments):
    """Runs bench/serve's program against the server. Returns its rows by name."""
    report = pathlib.Path(options.dir) / "report.json"
    done = subprocess.run([str(word) for word in (SERVE, server.url, "--json", report, *arguments)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{SERVE} failed: {done.stderr}")
    return {row["name"]: row for row in json.loads(report.read_text(encoding="utf-8"))["results"]}


def run_part(document, parts, add_arguments):
    """The main function of a program. `parts` are generators of rows: name, value, unit, further figures.

    `add_arguments` gets the parser, which has --program, --dir and --json already; options that it does not
    know are those of `prefixd serve`. Returns the options. A part finds `options.dir`, a temporary folder,
    `options.log` and `options.more`.
    """
    parser = argparse.ArgumentParser(description=document, allow_abbrev=False,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=parts)
    parser.add_argument("model")
    parser.add_argument("--program")
    parser.add_argument("--dir", default=ROOT / "build")
    parser.add_argument("--json")
    add_arguments(parser)
    options, options.more = parser.parse_known_args()
    rows = []
    os.makedirs(options.dir, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bench-") as options.dir:
        options.log = os.path.join(options.dir, "log")
        options.program = options.program or parts[options.part].program
        machine = print_machine(options)
        for name, value, unit, more in parts[options.part].rows(options):
            rows.append({"name": name, "value": value, "unit": unit, **more})
            print(f"{name:24}{value:10.4g} {unit:12}" + "  ".join(f"{k} {v:.5g}" for k, v in more.items()),
                  flush=True)
    if options.json:
        text = json.dumps({"machine": machine, "results": rows}, indent=1) + "\n"
        pathlib.Path(options.json).write_text(text, encoding="utf-8")
    return options


class Part:
    """A part of a program: the generator of its rows, and the program that it measures without --program."""

    def __init__(self, rows, program="prefixd"):
        self.rows = rows
        self.program = ROOT / "build/release" / program
