#!/usr/bin/env python3
"""Folders that are no model, or are damaged, and the words that `validate` must say about each.

Run as a program, it prints the table: what each folder is and the whole message. PREFIXD_PROGRAM names the
daemon. The test is broken_folders_test.py.
"""

import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile
import textwrap

import broken_folders_files
import broken_folders_kinds
from daemon import MODEL, PATIENCE, PROGRAM
from folder_damage import FILES

CASES = {**broken_folders_kinds.CASES, **broken_folders_files.CASES}


def drop_override():
    """Takes from root, in a child, the right to open files whose mode forbids it."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; 24 is PR_CAPBSET_DROP
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def validate(path):
    """Runs validate. Returns the exit code and what it writes to stderr."""
    done = subprocess.run([PROGRAM, "validate", "--model", path, "--device-cache", "4MiB"],
                          capture_output=True,
                          text=True,
                          timeout=PATIENCE,
                          preexec_fn=drop_override)
    return done.returncode, done.stdout, done.stderr


def make(case, folder):
    """Makes the folder of a case. Returns the path to validate."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(MODEL / name, folder)
    path = CASES[case][1](folder)
    return path if isinstance(path, pathlib.Path) else folder


def message(case, folder):
    """The exit code and the lines of stderr about a case, with the folder named MODEL."""
    path = make(case, folder)
    try:
        code, _, text = validate(path)
    finally:
        folder.chmod(0o755)
    return code, text.replace(str(folder), "MODEL").strip()


def main():
    with tempfile.TemporaryDirectory() as root:
        for case, (what, *_) in CASES.items():
            code, text = message(case, pathlib.Path(root) / case)
            lines = [
                part for line in text.splitlines()
                for part in textwrap.wrap(line, 100, break_on_hyphens=False)
            ]
            print(f"{what}  [{case}, exit code {code}]", *lines, sep="\n    ", end="\n\n")


if __name__ == "__main__":
    main()
