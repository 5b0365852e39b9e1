#!/usr/bin/env python3
"""Sends requests that schemathesis makes of the daemon's own /openapi.json, and checks the answers.

    tests/e2e/schema_fuzz.py --examples 300 --seed 7

It prints schemathesis' report. Exit code 0: no status of 500 or more but a documented 503, and no breach of
the document. Requests that the document allows may be refused with 4xx: JSON Schema cannot say that a model
must exist, that an id is one of the vocabulary, or that a prompt fits the context. So the check "positive
data is accepted" is left out.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from daemon import Daemon

LEFT_OUT = "positive_data_acceptance"
OPTIONS = ["--context", 256, "--max-sequences", 8]


def run(examples, seed, timeout=None):
    """Returns (exit code, report)."""
    with Daemon(*OPTIONS) as daemon, tempfile.TemporaryDirectory() as folder:  # schemathesis leaves files
        command = [pathlib.Path(sys.executable).parent / "schemathesis", "run", daemon.url + "/openapi.json",
                   "--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", str(examples),
                   "--seed", str(seed), "--workers", "1", "--generation-database", "none", "--no-color"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout,
                              cwd=folder)
        alive = daemon.process.poll() is None and daemon.get("/health")[0] == 200
        return done.returncode if alive else 70, done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    code, report = run(arguments.examples, arguments.seed)
    print(report)
    return code


if __name__ == "__main__":
    sys.exit(main())
