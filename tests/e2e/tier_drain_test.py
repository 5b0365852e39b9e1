"""How a daemon with a disk cache ends: what is written, how long that may take, and what a disk that hangs
may hold up. prefixd_fault has a disk that hangs while a file exists.
"""

import json
import time

import pytest
from daemon import Daemon, wait_until
from raw_client import connect, request_bytes
from tier_faults_test import FAULTY, check, disk_options
from tiers_test import SMALL_POOL, ask, prompt, tokens_from, wait_until_put, wait_until_spilled


@pytest.fixture
def hang(tmp_path):
    """A file; while it exists, the disk of daemons with the environment `hanging(hang)` hangs."""
    yield tmp_path / "hang"
    (tmp_path / "hang").unlink(missing_ok=True)


def hanging(file):
    return {"program": FAULTY, "environment": {"FAULTY_DISK": f"hang:{file}"}}


def test_without_time_to_drain_what_was_decided_is_written(tmp_path):
    options = [*disk_options(tmp_path / "kv"), "--disk-write-through"]
    with Daemon(*options, "--drain-seconds", 0) as daemon:
        ask(daemon, prompt(0))
        wait_until_put(daemon, 1)
        daemon.signal()
        assert daemon.exit_code() == 0
        assert daemon.logged("the disk cache got only what was decided for it before")
    with Daemon(*options) as daemon:
        wait_until(lambda: daemon.logged("the disk cache is scanned"), "the scan")
        assert ask(daemon, prompt(0))[1] >= 320 - 16


def test_the_time_runs_out_before_the_cache_is_written(tmp_path, hang):
    with Daemon(*disk_options(tmp_path / "kv"), "--drain-seconds", 1, **hanging(hang)) as daemon:
        ask(daemon, prompt(0))
        hang.touch()
        daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("drain-seconds ran out before the disk cache was written")


def test_a_second_signal_while_the_cache_is_written(tmp_path, hang):
    with Daemon(*disk_options(tmp_path / "kv"), "--drain-seconds", 600, **hanging(hang)) as daemon:
        ask(daemon, prompt(0))
        hang.touch()
        daemon.signal()
        wait_until(lambda: daemon.logged("draining"), "the drain")
        time.sleep(0.5)
        assert daemon.process.poll() is None
        daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("ended by a second signal") and not daemon.logged("ran out")


@pytest.mark.parametrize("end", ["time", "signal"])
def test_a_read_that_never_ends_does_not_keep_the_process(tmp_path, hang, end):
    """Nobody waits for the read any more, and nothing is to be written; the thread that reads hangs all the
    same."""
    options = [*disk_options(tmp_path / "kv"), "--disk-write-through"]
    seconds = 1 if end == "time" else 600
    with Daemon(*options, "--drain-seconds", seconds, device_cache=SMALL_POOL, **hanging(hang)) as daemon:
        for seed in range(5):
            ask(daemon, prompt(seed))
            wait_until_put(daemon, seed + 1)
        wait_until_spilled(daemon)
        ask(daemon, prompt(0))
        assert tokens_from(daemon, "disk") > 0
        hang.touch()
        with connect(daemon) as sock:
            sock.sendall(request_bytes("/v1/completions", {"prompt": prompt(1), "max_tokens": 4}))
            wait_until(lambda: check(daemon).startswith("failed: a read has taken "), "the failure in /ready")
            assert json.loads(daemon.get("/ready")[2])["ready"] is True
        wait_until(lambda: daemon.logged("the disk cache fails"), "the failure in the log")
        wait_until(lambda: daemon.logged("status=499"), "the end of the request")
        daemon.signal()
        if end == "signal":
            wait_until(lambda: daemon.logged("disk cache written"), "the end of the drain")
            daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("the disk cache hangs" if end == "time" else "ended by a second signal")
