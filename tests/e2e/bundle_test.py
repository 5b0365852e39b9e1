"""Packs prefixd with deploy/bundle and runs it without the libraries of this system."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from daemon import PATIENCE, PROGRAM, ROOT, Daemon

LIMIT = 60 * 2**20


def bundle(*arguments):
    return subprocess.run([ROOT / "deploy/bundle", *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE)


@pytest.fixture(scope="module", name="folder")
def packed_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "bundle"
    done = bundle("--demo", "--program", PROGRAM, folder)
    assert done.returncode == 0, done.stderr
    return folder


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_the_folder_is_small(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) <= LIMIT
    names = {path.name for path in files}
    assert {"libc.so.6", "libdl.so.2", "ld-linux-x86-64.so.2", "config.json"} <= names
    assert not any(name.startswith(("libcuda.", "libcudart", "libcublas")) for name in names)


def test_it_maps_no_file_from_outside(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    os.symlink(folder, moved)  # the program is found through links, too
    with Daemon(program=moved / "prefixd", model=folder / "models/demo") as daemon:
        assert daemon.complete(prompt="The capital of France is", max_tokens=4)["usage"]["prompt_tokens"] > 0
        maps = pathlib.Path(f"/proc/{daemon.process.pid}/maps").read_text()
        files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) == 6}
        files = {name for name in files if name.startswith("/") and not name.startswith("/dev/")}
        assert len(files) > 10
        assert [name for name in files if not name.startswith(f"{folder.resolve()}/")] == []


def test_a_driver_may_be_on_the_path_of_libraries(folder, tmp_path):
    (tmp_path / "driver").mkdir()
    said = subprocess.run([folder / "prefixd", "version"], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(tmp_path / "driver"),
                               "LD_DEBUG": "libs"}).stderr
    searched = re.search(r"search path=(\S+)\s+\(--library-path\)", said)[1].split(":")
    assert searched.index(str(folder / "lib")) < searched.index(str(tmp_path / "driver"))


def test_it_loads_the_module_beside_the_program_and_begins_anew(tmp_path):
    module = PROGRAM.parent / "tests/kernels/cuda/module/emulated/libprefixd_cuda.so"
    if not module.exists():
        pytest.skip("the emulated module is not built")
    (tmp_path / "built").mkdir()
    for file in (PROGRAM, module):
        shutil.copy(file, tmp_path / "built" / file.name)
    done = bundle("--program", tmp_path / "built/prefixd", tmp_path / "bundle")
    assert done.returncode == 0 and "with the CUDA module" in done.stderr, done.stderr
    shutil.rmtree(tmp_path / "built")
    program, lost = tmp_path / "bundle/prefixd", tmp_path / "lost"
    said = subprocess.run([program, "version"], capture_output=True, text=True).stdout
    assert re.search(r"^backends: .*\bcuda\b", said, re.MULTILINE), said
    # The module is an emulation, with little memory.
    small = ("--backend", "cuda", "--context", 512, "--step-tokens", 64, "--max-sequences", 4)
    with Daemon(*small, program=program, environment={"EMULATED_CUDA_LOST": str(lost)}) as daemon:
        expected = daemon.complete(prompt="The capital", max_tokens=2)["choices"][0]["text"]
        lost.touch()
        status, _, text = daemon.request("POST", "/v1/completions", {"model": "demo", "prompt": "Another."})
        assert status == 503, text
        daemon.url = daemon._wait_until_listening()
        assert daemon.complete(prompt="The capital", max_tokens=2)["choices"][0]["text"] == expected


def test_it_answers_from_an_empty_chroot(folder, tmp_path):
    if subprocess.run(["chroot", "/", "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may not change the root")
    program = script(tmp_path / "in_chroot", f'exec chroot "{folder}" /bin/prefixd "$@"\n')
    with Daemon(program=program, model="/models/demo") as daemon:
        packed = daemon.complete(prompt="The capital of France is", max_tokens=8)
        daemon.signal()
        assert daemon.exit_code() == 0
    with Daemon() as daemon:
        installed = daemon.complete(prompt="The capital of France is", max_tokens=8)
    assert packed["choices"][0]["text"] == installed["choices"][0]["text"] != ""


def test_wrong_arguments_are_explained(folder, tmp_path):
    for arguments, code, words in (((), 2, "the folder to make is missing"),
                                   (("--fast", tmp_path / "x"), 2, "unknown argument --fast"),
                                   ((tmp_path / "x", tmp_path / "y"), 2, "two folders"),
                                   (("--program", PROGRAM, folder), 1, "exists and is not empty"),
                                   (("--program", tmp_path, tmp_path / "x"), 1, "is not a program")):
        done = bundle(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert words in done.stderr
