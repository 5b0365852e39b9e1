"""Tests the daemon with and without libprefixd_cuda.so beside it, on machines without a GPU."""

import json
import pathlib
import shutil
import subprocess

import pytest

from daemon import MODEL, PATIENCE, PROGRAM, Daemon

BUILD = PROGRAM.parent
STAND_IN = BUILD / "tests/kernels/cuda/module/stand_ins/libcuda_stand_in_driverless.so"
REAL = BUILD / "libprefixd_cuda.so"
SAYS = "the CPU computes: the CUDA module finds no device that it can use"


@pytest.fixture(params=["absent", "stand-in", "real"])
def installed(request, tmp_path):
    """(program, reason why cuda does not run there) of a folder with a copy of the program."""
    program = tmp_path / "prefixd"
    shutil.copy(PROGRAM, program)
    if request.param == "absent":
        return program, "libprefixd_cuda.so is not beside the program"
    module = STAND_IN if request.param == "stand-in" else REAL
    if not module.exists():
        pytest.skip(f"{module.name} is not built")
    if module == REAL and pathlib.Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    shutil.copy(module, tmp_path / REAL.name)
    return program, "there is no NVIDIA driver"


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)


def test_by_name_it_is_an_error_with_the_reason(installed):
    program, reason = installed
    for command in ("serve", "validate"):
        done = run(program, command, "--model", MODEL, "--backend", "cuda")
        assert done.returncode == 2
        assert f"backend: 'cuda' does not run here: {reason}" in done.stderr
    assert f"not on this machine: cuda ({reason}" in run(program, "version").stdout


def test_auto_serves_on_the_cpu_and_says_once_why(installed):
    program, reason = installed
    with Daemon("--log-format", "json", "--device", 3, program=program) as daemon:
        status, _, _ = daemon.get("/ready")
        assert status == 200
        lines = [json.loads(line) for line in daemon.log if SAYS in line]
    if "beside" in reason:
        assert lines == []
    else:
        assert len(lines) == 1
        assert lines[0]["reason"].startswith(reason)
