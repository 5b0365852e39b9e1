"""Blocks that nobody wants again are written to the disk when no request computes, and all of them then."""

import itertools
import threading

from daemon import Daemon, wait_until
from tiers_test import BLOCK, CONTEXT, prompt, wait_until_put, wait_until_spilled

CLIENTS = 3


def value(daemon, name):
    return daemon.metrics()[name, ()]


def test_what_the_disk_would_only_cost_is_written_later(tmp_path):
    disk = ["--disk-cache-dir", tmp_path / "kv", "--disk-cache", "2GiB", "--disk-write-through"]
    with Daemon("--context", CONTEXT, *disk, device_cache="1GiB") as daemon:
        numbers, stop = itertools.count(), threading.Event()
        sent = []

        def client():
            while not stop.is_set():
                number = next(numbers)
                daemon.complete(prompt=prompt(number), max_tokens=1)
                sent.append(number)

        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        try:
            wait_until(lambda: value(daemon, "prefixd_spills_deferred_total") > 0, "a deferred spill")
            assert value(daemon, "prefixd_spill_cost_ratio") > 0.01
            assert value(daemon, "prefixd_spill_chance_ratio") == 0
        finally:
            stop.set()
            for each in clients:
                each.join()
        wait_until_put(daemon, len(sent))
        wait_until_spilled(daemon)
        blocks = daemon.metrics()["prefixd_blocks", (("state", "cached"), ("tier", "disk"))]
        assert blocks == len(sent) * 320 / BLOCK
