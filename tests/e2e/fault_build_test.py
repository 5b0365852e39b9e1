"""prefixd_fault: the program of prefixd with faults in the file operations of its disk cache."""

import json
import os
import subprocess
import time

from daemon import PATIENCE, PROGRAM, ROOT, run
from disk_commands_test import cache, records  # noqa: F401  (a fixture)

FAULTY = ROOT / "build/release/prefixd_fault"


def purge(folder, script=None, speed=None):
    environment = dict(os.environ, **({"FAULTY_DISK": script} if script else {}),
                       **({"DISK_SPEED": str(speed)} if speed else {}))
    return subprocess.run([FAULTY, "purge", folder, "--older-than", "1s", "--yes", "--json"], env=environment,
                          capture_output=True, text=True, timeout=PATIENCE)


def test_prefixd_has_no_part_of_the_double():
    names = {
        program: subprocess.run(["nm", "-C", program], capture_output=True, text=True, check=True).stdout
        for program in (PROGRAM, FAULTY)
    }
    assert "testing_support::FaultyDisk" in names[FAULTY]
    assert "testing_support" not in names[PROGRAM]


def test_a_purge_that_fails_can_be_repeated(cache):  # noqa: F811
    folder, _ = cache
    before = sum(records(folder).values())
    assert before > 0
    failures = 0
    for skip in range(0, 60, 3):
        done = purge(folder, f"{skip}:0:{'io' if skip % 2 else 'full'}")
        if done.returncode == 0:
            break  # it needs no more operations than that
        assert done.returncode == 1 and json.loads(done.stdout)["error"], done.stderr
        failures += 1
        assert sum(records(folder).values()) <= before
        assert run("verify", folder).returncode in (0, 1), "the directory can be read"
    assert failures >= 3
    assert purge(folder).returncode == 0
    assert sum(records(folder).values()) == 0


def test_a_wrong_script_is_refused(cache):  # noqa: F811
    done = purge(cache[0], "everything")
    assert done.returncode == 2 and "SKIP:COUNT:io" in done.stderr


def test_reads_take_their_time(cache, tmp_path):  # noqa: F811
    folder, _ = cache
    speed = tmp_path / "speed"
    speed.write_text("0 0 2\n")
    begun = time.monotonic()
    assert purge(folder, speed=speed).returncode == 0
    assert time.monotonic() - begun > 1.5, "a lower bound, which no machine is too slow for"
    assert sum(records(folder).values()) == 0


def test_reads_that_take_their_time_fail_as_others_do(cache, tmp_path):  # noqa: F811
    speed = tmp_path / "speed"
    speed.write_text("1e9 0.001 0\n")
    done = purge(cache[0], "0:0:io", speed)
    assert done.returncode == 1 and json.loads(done.stdout)["error"], done.stderr


def test_a_wrong_speed_is_refused(cache, tmp_path):  # noqa: F811
    for text in (None, "", "fast", "1e6 0"):
        speed = tmp_path / "speed"
        if text is not None:
            speed.write_text(text)
        done = purge(cache[0], speed=speed)
        assert done.returncode == 2 and "DISK_SPEED" in done.stderr, text
