"""Prefixes on the disk of prefixd_fault, which has a bandwidth; for bench/never_slower."""

import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

from measured_daemon import Server, prompt_of

BLOCK = 16  # tokens
PAGE = 4096  # a record is read in whole pages, one more than it has
SUFFIX = 32  # tokens
DECISIONS = ("load", "recompute", "split", "overtaken")


def policies_of(options, wanted):
    """The options of each policy that the program knows, by its name."""
    text = subprocess.run([options.program, "serve", "--help"], capture_output=True, text=True,
                          check=True).stdout
    if "--load-policy" not in text:
        return {"auto": []}
    return {name: ["--load-policy", name] for name in wanted.split(",")}


def decisions(server):
    """What was decided for loads from the disk; nothing if the program does not count it."""
    counted = server.metrics("prefixd_load_decisions_total")
    return {name: sum(value for labels, value in counted.items()
                      if f'decision="{name}"' in labels and 'tier="disk"' in labels)
            for name in DECISIONS if counted}


def gained(after, before):
    return {name: after[name] - before[name] for name in after}


class Prefixes:
    """Prompts that lie on a disk whose speed is in a file, and what it costs to compute or to load them.

    Any thread may call `ask`.
    """

    def __init__(self, options, count):
        self.options = options
        self.count = count
        self.folder = pathlib.Path(options.dir) / "kv"
        self.speed = pathlib.Path(options.dir) / "speed"
        self.disk = ["--disk-cache-dir", self.folder, "--disk-cache", options.disk_cache]
        self.answers = {}  # the token of each prompt, by what was sent
        self.wrong = 0
        self.lock = threading.Lock()
        self.check_program()
        self.set_speed(0)
        self.block_seconds = self.measure_compute()
        self.block_bytes = self.fill()
        self.break_even = self.block_bytes / self.block_seconds

    def check_program(self):
        """A program whose disk has a bandwidth refuses an empty file."""
        command = [self.options.program, "purge", self.options.dir, "--older-than", "1s", "--yes"]
        done = subprocess.run(command, env={**os.environ, "DISK_SPEED": os.devnull}, capture_output=True,
                              text=True, check=False)
        if "DISK_SPEED" not in done.stderr:
            sys.exit(f"{self.options.program} knows no DISK_SPEED; prefixd_fault does")

    def row(self):
        return "break_even", self.break_even / 1e6, "MB/s", {"block_ms": 1e3 * self.block_seconds,
                                                             "block_bytes": self.block_bytes}

    def set_speed(self, bytes_per_second, hang=0):
        other = self.speed.with_suffix(".new")
        other.write_text(f"{bytes_per_second:.0f} {self.options.latency} {hang}\n", encoding="utf-8")
        os.replace(other, self.speed)

    def prefix(self, number):
        return prompt_of(self.options.tokens, 1000 + number)

    def start(self, *more):
        server = Server(self.options, *self.disk, *more, environment={"DISK_SPEED": str(self.speed)})
        server.wait_until_scanned()
        return server

    def measure_compute(self):
        """The seconds in which a block is computed, without any tier."""
        server = Server(self.options)
        server.ask(prompt_of(256, 99))  # the first request pays for threads and memory
        seconds = statistics.median(server.ask(prompt_of(self.options.tokens, seed))[0] for seed in (1, 2, 3))
        server.end(signal.SIGKILL)
        return seconds * BLOCK / self.options.tokens

    def fill(self):
        """Writes all prefixes. Returns the bytes that the disk is asked for to load a block."""
        server = self.start("--disk-write-through")
        wanted = self.options.tokens // BLOCK

        def blocks():
            return server.metric("prefixd_blocks", '{tier="disk",state="cached"}')

        for number in range(self.count):
            server.ask(self.prefix(number))
            deadline = time.monotonic() + 10  # the pool may be too small for blocks that wait for the disk
            while blocks() < (number + 1) * wanted and time.monotonic() < deadline:
                time.sleep(0.02)
        server.wait_until_spilled()
        found = blocks()
        bytes_written = server.metric("prefixd_tier_written_bytes_total", '{tier="disk"}')
        server.end()
        if found < self.count * (wanted - 1):
            sys.exit(f"{found:.0f} blocks of {self.count} x {self.options.tokens} tokens are on disk")
        return bytes_written / found + PAGE

    def ask(self, server, number, variant):
        """Sends a prefix with a suffix of its own. Returns when the request began and its seconds."""
        begun = time.monotonic()
        suffix = prompt_of(SUFFIX, (number + 1) * 100_000 + variant)
        seconds, _, token = server.ask(self.prefix(number) + suffix)
        with self.lock:
            self.wrong += self.answers.setdefault((number, variant), token) != token
        return begun, seconds
