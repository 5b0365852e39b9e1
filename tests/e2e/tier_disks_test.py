"""The disk tier on directories that refuse it: without permission to write, on a file system that is really
full or read-only, and gone. Requests succeed, /ready says what is wrong, and the tier works again once the
cause is gone. A directory that is a mistake at the start is refused.

The faults that prefixd_fault injects are in tier_faults_test.py.
"""

import json
import os
import shutil
import subprocess
import time

import pytest
from daemon import MODEL, Daemon, run, wait_until
from tier_faults_test import branching_prompt, disk_options, expected  # noqa: F401  (a fixture)
from tiers_test import SMALL_POOL, ask, check_at_rest, prompt, tokens_from, wait_until_spilled

PROMPTS = 6


class Unwritable:
    """A context manager in which no file can be created in or below a folder, by root either."""

    def __init__(self, folder):
        self.folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]

    def __enter__(self):
        for folder in self.folders:
            folder.chmod(0o500)
            subprocess.run(["chattr", "+i", folder], capture_output=True, check=False)
        try:
            (self.folders[-1] / "probe").touch()
        except PermissionError:
            return self
        (self.folders[-1] / "probe").unlink()
        self.__exit__()
        pytest.skip("this user may write everywhere, and the file system has no immutable folders")

    def __exit__(self, *_):
        for folder in self.folders:
            subprocess.run(["chattr", "-i", folder], capture_output=True, check=False)
            folder.chmod(0o700)


def disk_check(daemon):
    """What /ready says of the disk. It stays ready all the time."""
    status, _, text = daemon.get("/ready")
    assert status == 200, text
    return json.loads(text)["checks"]["disk"]


def fails(daemon):
    return disk_check(daemon).startswith("failed")


def ask_until(daemon, expected, condition, what):  # noqa: F811
    """Sends known prompts and new ones; the answers to the known ones have to be right."""
    deadline = time.monotonic() + 60
    number = 0
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for: {what}"
        assert ask(daemon, branching_prompt(number % PROMPTS))[0] == expected[number % PROMPTS]
        ask(daemon, prompt(5000 + time.monotonic_ns(), 300))
        number += 1
        time.sleep(0.02)


def check_recovery(daemon, expected):  # noqa: F811
    """The disk works again, and prompts that the pool has lost come from it."""
    ask_until(daemon, expected, lambda: disk_check(daemon) == "ok", "a disk that works again")
    wait_until(lambda: daemon.logged("the disk cache works again"), "the end of the failure in the log")
    before = tokens_from(daemon, "disk")
    ask_until(daemon, expected, lambda: tokens_from(daemon, "disk") > before, "a prompt from the disk")
    check_at_rest(daemon)


def test_a_directory_that_becomes_read_only(tmp_path, expected):  # noqa: F811
    folder = tmp_path / "kv"
    with Daemon(*disk_options(folder), "--disk-write-through", device_cache=SMALL_POOL) as daemon:
        ask_until(daemon, expected, lambda: tokens_from(daemon, "disk") > 0, "a prompt from the disk")
        with Unwritable(folder):
            ask_until(daemon, expected, lambda: fails(daemon), "a failure in /ready")
            wait_until(lambda: daemon.logged("the disk cache fails"), "the failure in the log")
            for number in range(PROMPTS):
                assert ask(daemon, branching_prompt(number))[0] == expected[number]
        check_recovery(daemon, expected)


def test_a_start_on_a_directory_that_may_not_be_written(tmp_path):
    folder = tmp_path / "kv"
    folder.mkdir()
    with Unwritable(folder):
        for path in (folder, folder / "below"):
            for command in ("serve", "validate"):
                done = run(command, "--model", MODEL, *disk_options(path))
                assert done.returncode == 2, done.stderr
                assert f"disk-cache-dir: '{path}'" in done.stderr and "may not be written" in done.stderr
    with Daemon(*disk_options(folder)) as daemon:
        assert disk_check(daemon) == "ok"


def mount(folder, options):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "prefixd-test", folder],
                          capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A folder on which file systems can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount(folder, "size=6m"):
        pytest.skip("only root can mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_start_on_a_read_only_file_system(disk, expected):  # noqa: F811
    """A disk that had errors is often mounted so. It is no mistake of the options."""
    assert mount(disk, "remount,ro,size=64m")
    with Daemon(*disk_options(disk / "kv"), "--disk-write-through", device_cache=SMALL_POOL) as daemon:
        assert fails(daemon)
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
        assert mount(disk, "remount,rw,size=64m")
        check_recovery(daemon, expected)


def test_a_file_system_that_is_full(disk, expected):  # noqa: F811
    options = [*disk_options(disk / "kv", "24MiB"), "--disk-write-through"]
    with Daemon(*options, device_cache=SMALL_POOL) as daemon:
        assert daemon.logged("disk-cache: 24.0 MiB are more than the 6.0 MiB")
        ask_until(daemon, expected, lambda: fails(daemon), "a failure in /ready")
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:  # segments of a block, which may fit
            ask(daemon, prompt(7000 + time.monotonic_ns(), 20))
            said = disk_check(daemon)  # once: what it says changes between two tries
            assert "is full" in said or "No space left" in said
        assert not daemon.logged("the disk cache works again")
        assert mount(disk, "remount,size=64m")
        check_recovery(daemon, expected)


def test_ready_says_that_the_directory_vanished(tmp_path, expected):  # noqa: F811
    """The tier looks at the directory every 200 ms, and tries every five seconds to open a new one."""
    folder = tmp_path / "kv"
    with Daemon(*disk_options(folder), "--disk-write-through", device_cache=SMALL_POOL) as daemon:
        ask(daemon, prompt(0))
        wait_until_spilled(daemon)
        shutil.rmtree(folder)
        folder.write_text("no directory")  # so that it cannot be made again
        wait_until(lambda: fails(daemon), "a failure in /ready")
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
        folder.unlink()
        check_recovery(daemon, expected)
