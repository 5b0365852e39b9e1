#!/usr/bin/env python3
"""Kills a writer of a disk store at random times and checks what it acknowledged.

disk_writer_test.py PROGRAM [--kills N] [--seed S] [--folder DIR]
After each kill the next run of the program says what lies in the directory. Every record whose
acknowledgement was read must be there whole, in that version or a later one, unless it was told dropped
since, or was being replaced.
"""
import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time


def lines_of(process, seconds, until=None):
    """The lines of the first `seconds`, or up to and including the first one that begins with `until`."""
    text = b""
    end = time.monotonic() + seconds
    stream = process.stdout.fileno()
    while time.monotonic() < end:
        if not select.select([stream], [], [], max(0, end - time.monotonic()))[0]:
            break
        part = os.read(stream, 1 << 16)
        text += part
        if not part or (until is not None and b"\n" + until in b"\n" + text and text.endswith(b"\n")):
            break
    return text


class Record:
    """What may lie under one key."""

    def __init__(self):
        self.versions = {0}  # 0: none

    def put(self, version):
        # A crash may lose a put that is not acknowledged, and the record that it replaces.
        self.versions |= {0, version}

    def acknowledge(self, version):
        self.versions = {v for v in self.versions if v >= version and v != 0}

    def drop(self):
        self.versions.add(0)


def follow(records, text):
    """Applies the lines to the records. Returns the numbers of acknowledgements and drops."""
    counts = {"ack": 0, "drop": 0}
    for line in filter(None, text.decode().split("\n")):
        word, key, version = line.split()
        record = records.setdefault(int(key), Record())
        if word == "put":
            record.put(int(version))
        elif word == "ack":
            record.acknowledge(int(version))
            counts["ack"] += 1
        elif word == "drop":
            record.drop()
            counts["drop"] += 1
    return counts


def check(records, text):
    """Compares what a start has found, and returns the faults and the number of records."""
    faults, found = [], {}
    dropped = set()
    for line in filter(None, text.decode().split("\n")):
        word, key, version = line.split()
        if word == "have":
            found[int(key)] = int(version)
        elif word == "damaged":
            faults.append(f"record {key} is damaged")
        elif word == "drop":
            dropped.add(int(key))
    for key, record in records.items():
        version = found.get(key, 0)
        if version not in record.versions and not (version == 0 and key in dropped):
            faults.append(f"key {key} has version {version}, not one of {sorted(record.versions)}")
        record.versions = {version}
    return faults, len(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", default="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    records, acknowledged, dropped, whole = {}, 0, 0, 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for run in range(options.kills + 1):
            process = subprocess.Popen([options.program, f"{folder}/cache", str(run + 1)],
                                       stdout=subprocess.PIPE)
            try:
                # Some are killed while they start.
                early = 0 < run < options.kills and chance.random() < 0.2
                start = lines_of(process, chance.uniform(0, 0.1) if early else 60, b"ready")
                started = b"\nready" in b"\n" + start
                if not started and not early:
                    sys.exit(f"run {run} did not start: {start[-300:]!r}")
                if started and run < options.kills:
                    start += lines_of(process, chance.uniform(0, 1.0))
            finally:
                process.send_signal(signal.SIGKILL)
                start += process.stdout.read()  # what it said before it died
                process.wait()
            started = b"\nready" in b"\n" + start
            text = b"\n" + start
            before, _, after = text.partition(b"\nready 0 0\n") if started else (text, b"", b"")
            if started:
                faults, count = check(records, before[1:] + b"\n")
                whole += count
                if faults:
                    sys.exit(f"run {run}: " + "; ".join(faults[:5]))
            else:
                # The rest of what it found is unknown; drops count.
                follow(records, before[1:before.rfind(b"\n") + 1])
            counts = follow(records, after)
            acknowledged += counts["ack"]
            dropped += counts["drop"]
    print(f"{options.kills} kills: {acknowledged} records acknowledged, {dropped} told dropped, "
          f"{whole} found whole at the starts, none damaged or missing")
    if acknowledged == 0 or whole == 0:
        sys.exit("nothing was tested")


if __name__ == "__main__":
    main()
