"""bench/never_slower on the demo model, in small: that it measures what it says. Times are for its reader."""

import json
import subprocess

import pytest
from daemon import MODEL, PATIENCE, PROGRAM, ROOT, run

HAS_POLICIES = "--load-policy" in run("serve", "--help").stdout
POLICIES = ["auto", "load", "recompute"] if HAS_POLICIES else ["auto"]
# What is counted; a program without the option counts nothing.
DECISIONS = ["load", "recompute", "split", "overtaken"] if HAS_POLICIES else []


def measure(tmp_path, part, *arguments):
    """The rows of a part by name. Nothing else is left behind."""
    path = tmp_path / "rows.json"
    done = subprocess.run([ROOT / "bench/never_slower", part, MODEL, "--dir", tmp_path, "--json", path,
                           *map(str, arguments)], capture_output=True, text=True, timeout=4 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("machine: ")
    assert [left for left in tmp_path.iterdir() if left != path] == []
    return {row["name"]: row for row in json.loads(path.read_text())["results"]}


def test_policies_are_compared_on_a_disk_of_each_speed(tmp_path):
    rows = measure(tmp_path, "policies", "--tokens", 512, "--requests", 1, "--rounds", 1, "--clients", 2,
                   "--speeds", "1,4")
    assert rows["break_even"]["value"] > 0
    # A block has 16 tokens of 7 layers, 2 heads of 32, K and V of 2 bytes. It is compressed; a page is added.
    assert 4096 < rows["break_even"]["block_bytes"] <= 16 * 7 * 2 * 2 * 32 * 2 + 8192
    assert (rows["wrong_answers"]["value"], rows["wrong_answers"]["answers"]) == (0, 4)
    for speed in ("1", "4"):
        for mode, requests in (("one", 1), ("many", 2)):
            for policy in POLICIES:
                row = rows[f"{speed}_{mode}_{policy}"]
                assert row["value"] > 0 and row["requests"] == requests
                assert ("over_better" in row) == (policy == "auto" and HAS_POLICIES)
                assert all(name in row for name in DECISIONS)
                if policy == "load" or not HAS_POLICIES:
                    assert row["disk_tokens"] == 3 * 512
                if policy == "recompute":
                    assert row["disk_tokens"] == 0


def test_a_disturbed_disk_is_compared_with_computing(tmp_path):
    rows = measure(tmp_path, "slow", "--tokens", 256, "--seconds", 1, "--hang", 1, "--prefixes", 10)
    assert rows["wrong_answers"]["value"] == 0
    for event in ("slow", "hang"):
        row = rows[f"{event}_auto"]
        assert row["leased"] == 0
        assert row["before_requests"] > 0 and row["during_requests"] > 0 and row["after_requests"] > 0
        assert row["during_p99"] == row["value"] > 0
        assert (f"{event}_recompute" in rows) == ("over_recompute" in row) == HAS_POLICIES
        assert all(f"{phase}_{name}" in row for phase in ("before", "during", "settle", "after")
                   for name in DECISIONS)
        if HAS_POLICIES:
            assert rows[f"{event}_recompute"]["before_disk_tokens"] == 0
        else:
            assert row["before_disk_tokens"] > 0


def test_prompts_that_never_come_again_gain_nothing(tmp_path):
    rows = measure(tmp_path, "nothing", "--requests", 4, "--slices", 2, "--pairs", 1)
    assert rows["pair_1"]["cached"] < 0.05 and rows["pair_1"]["written_MB"] > 0
    for name in ("rate", "p90", "p99"):
        assert rows[f"median_{name}_ratio"]["value"] > 0 and rows[f"median_{name}_ratio"]["pairs"] == 1


def test_a_small_pool_is_helped_by_the_disk(tmp_path):
    rows = measure(tmp_path, "mixes", "--mixes", "tenants", "--requests", 24, "--pairs", 1, "--tenants", 6,
                   "--words", 80, "--write-through")
    whole, small = rows["tenants_whole"], rows["tenants_small"]
    assert whole["disk_tokens"] == 0 and whole["written_MB"] > 0
    assert small["disk_tokens"] > 0
    assert small["none_cached"] < whole["none_cached"]


@pytest.mark.parametrize("arguments", [["policies", MODEL, "--speeds", "0.00001", "--tokens", "64",
                                        "--clients", "1"],
                                       ["nothing", MODEL, "--requests", "4", "--words", "5000"]])
def test_an_error_is_an_exit_code(tmp_path, arguments):
    done = subprocess.run([ROOT / "bench/never_slower", *arguments, "--dir", tmp_path], capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode != 0 and done.stderr != ""


def test_a_program_without_a_bandwidth_is_refused(tmp_path):
    done = subprocess.run([ROOT / "bench/never_slower", "policies", MODEL, "--dir", tmp_path, "--program",
                           PROGRAM], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "DISK_SPEED" in done.stderr
