#!/usr/bin/env python3
"""Checks that systemd accepts deploy/prefixd.service and that the unit stays confined."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77  # the exit code that ctest counts as skipped


class Service(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, text):
        # systemd checks that the program exists, so this replaces its path. The rest of the unit is as
        # shipped.
        unit = pathlib.Path(self.folder.name) / "prefixd.service"
        unit.write_text(text.replace("/usr/bin/prefixd", "/bin/true"))
        return unit

    def verify(self, text):
        """Returns the messages of `systemd-analyze verify`. Its exit code is 0 even if a key is unknown."""
        command = ["systemd-analyze", "verify", "--man=no", self.write(text)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")

    def test_systemd_accepts_it(self):
        self.assertEqual(self.verify((ROOT / "deploy/prefixd.service").read_text()), "")

    def test_systemd_accepts_the_socket_and_the_changes_for_a_gpu(self):
        folder = pathlib.Path(self.folder.name)
        unit = self.write((ROOT / "deploy/prefixd.service").read_text())
        changes = folder / "prefixd.service.d"
        changes.mkdir()
        text = (ROOT / "deploy/prefixd-cuda.conf").read_text()
        self.assertIn("PrivateDevices=no", text)
        changes.joinpath("cuda.conf").write_text(text)
        socket = folder / "prefixd.socket"
        socket.write_text((ROOT / "deploy/prefixd.socket").read_text())
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit, socket], capture_output=True,
                              text=True)
        self.assertEqual((done.stderr, done.returncode), ("", 0))

    def test_verify_reports_a_misspelt_key(self):
        text = (ROOT / "deploy/prefixd.service").read_text().replace("WatchdogSec", "WatchdogSecs")
        self.assertIn("WatchdogSecs", self.verify(text))

    def test_the_disk_cache_is_in_the_cache_directory(self):
        text = (ROOT / "deploy/prefixd.service").read_text()
        folder = re.search(r"^CacheDirectory=(\S+)$", text, re.MULTILINE)[1]
        self.assertRegex(text, rf"(?m)^Environment=PREFIXD_DISK_CACHE_DIR=%C/{folder}(/\S+)?$")

    def test_it_is_confined(self):
        unit = self.write((ROOT / "deploy/prefixd.service").read_text())
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", unit],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-200:])


if __name__ == "__main__":
    if shutil.which("systemd-analyze") is None:
        print("skipped: systemd-analyze is not installed")
        sys.exit(SKIPPED)
    unittest.main()
