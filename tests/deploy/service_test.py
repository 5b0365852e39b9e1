#!/usr/bin/env python3
"""deploy/prefixd.service is a unit that systemd understands, and stays as confined as it was."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77  # what ctest takes for "skipped"


class Service(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, text):
        # systemd looks whether the program is there; the rest of the unit stays as shipped.
        unit = pathlib.Path(self.folder.name) / "prefixd.service"
        unit.write_text(text.replace("/usr/bin/prefixd", "/bin/true"))
        return unit

    def verify(self, text):
        """What `systemd-analyze verify` says; it ends well on unknown keys, so that only its words count."""
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", self.write(text)], capture_output=True, text=True)
        return done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")

    def test_systemd_understands_it(self):
        self.assertEqual(self.verify((ROOT / "deploy/prefixd.service").read_text()), "")

    def test_a_misspelt_key_would_be_seen(self):
        text = (ROOT / "deploy/prefixd.service").read_text().replace("WatchdogSec", "WatchdogSecs")
        self.assertIn("WatchdogSecs", self.verify(text))

    def test_it_is_confined(self):
        unit = self.write((ROOT / "deploy/prefixd.service").read_text())
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", unit],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-200:])


if __name__ == "__main__":
    if shutil.which("systemd-analyze") is None:
        print("skipped: systemd-analyze is not here")
        sys.exit(SKIPPED)
    unittest.main()
