"""prefixd_fault: the program of prefixd with faults in the file operations of its disk cache."""

import json
import os
import subprocess

from daemon import PATIENCE, PROGRAM, ROOT, run
from disk_commands_test import cache, records  # noqa: F401  (a fixture)

FAULTY = ROOT / "build/release/prefixd_fault"


def purge(folder, script=None):
    environment = dict(os.environ, **({"FAULTY_DISK": script} if script else {}))
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
