"""bench/remote on the demo model, in small: that it measures what it says. Times are for its reader."""

import json
import shutil
import subprocess

import pytest
from daemon import MODEL, PATIENCE, ROOT

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


def measure(tmp_path, part, *arguments):
    """The rows of a part by name. Nothing else is left behind."""
    path = tmp_path / "rows.json"
    done = subprocess.run([ROOT / "bench/remote", part, MODEL, "--dir", tmp_path, "--json", path,
                           *map(str, arguments)], capture_output=True, text=True, timeout=4 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("machine: ")
    assert [left for left in tmp_path.iterdir() if left != path] == []
    return {row["name"]: row for row in json.loads(path.read_text())["results"]}


def test_hits_are_compared_with_computing(tmp_path):
    rows = measure(tmp_path, "cold", "--tokens", 512, "--pairs", 2, "--load-policy", "load")
    row = rows["hit_over_compute"]
    assert row["remote_tokens"] == 511, "all but the last come from the store"
    assert row["value"] > 0 and row["control"] > 0


def test_troubles_are_compared_with_no_store(tmp_path):
    rows = measure(tmp_path, "trouble", "--tokens", 512, "--pairs", 2, "--events", "works,killed")
    assert list(rows) == ["works", "killed"]
    for row in rows.values():
        assert row["value"] > 0 and row["first"] > 0 and row["control"] > 0
    killed, works = rows["killed"], rows["works"]
    assert killed["failures"] > 0 and killed["written"] == 0
    # On a busy machine a call may take too long, which is a failure, and then the store is left alone.
    assert works["written"] > 0 or works["failures"] > 0
