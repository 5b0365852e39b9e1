#!/usr/bin/env python3
"""Checks what deploy/package builds from, without building it: the files exist, the version is one, the units
fit each other. tests/deploy/installed.py checks the packages themselves."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEBIAN = ROOT / "deploy/debian"
MADE = ("debian/build/", "debian/made/")  # by the build


def value(path, key):
    (found,) = re.findall(rf"(?m)^{key}=(.*)$", path.read_text(encoding="utf-8"))
    return found


class Package(unittest.TestCase):
    def test_every_file_to_install_is_there(self):
        lists = [*DEBIAN.glob("*.install"), *DEBIAN.glob("*.docs")]
        self.assertGreater(len(lists), 3)
        for listed in lists:
            for line in listed.read_text(encoding="utf-8").splitlines():
                words = line.split()
                sources = words[:-1] if listed.suffix == ".install" else words
                for source in sources:
                    if not source.startswith(MADE):
                        self.assertTrue(list(ROOT.glob(source)), f"{listed.name}: {source}")

    def test_the_lists_are_of_packages(self):
        control = (DEBIAN / "control").read_text(encoding="utf-8")
        packages = set(re.findall(r"(?m)^Package: (\S+)$", control))
        self.assertEqual(packages, {"prefixd", "prefixd-cuda", "prefixd-demo-model"})
        for listed in DEBIAN.glob("prefixd*"):
            self.assertIn(listed.stem, packages)

    def test_the_version_is_that_of_the_project(self):
        project = re.search(r"project\(prefixd VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
        first = (DEBIAN / "changelog").read_text(encoding="utf-8").splitlines()[0]
        self.assertRegex(first, rf"^prefixd \({re.escape(project)}\) ")

    def test_the_tags_of_the_images_are_the_version(self):
        version = re.search(r"project\(prefixd VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
        for overlay, tag in (("cpu", version), ("gpu", f"{version}-cuda")):
            text = (ROOT / f"deploy/kubernetes/overlays/{overlay}/kustomization.yaml").read_text()
            self.assertEqual(re.findall(r"newTag: (\S+)", text), [tag])

    def test_the_copyright_file_says_that_no_licence_has_been_given(self):
        text = (DEBIAN / "copyright").read_text(encoding="utf-8")
        self.assertIn("No licence has been given yet.", text)
        self.assertEqual(re.findall(r"(?m)^License: (.*)$", text), ["none-given-yet"])

    def test_the_socket_is_the_address_of_the_daemon(self):
        options = (ROOT / "deploy/prefixd.toml").read_text(encoding="utf-8")
        listen = re.search(r'(?m)^#listen = "(.*)"$', options)[1]
        self.assertEqual(value(ROOT / "deploy/prefixd.socket", "ListenStream"), listen)

    def test_the_build_needs_what_the_script_installs(self):
        script = (ROOT / "deploy/build").read_text(encoding="utf-8")
        installed = set(re.search(r"packages=\((.*?)\)", script, re.DOTALL)[1].split())
        control = (DEBIAN / "control").read_text(encoding="utf-8")
        needed = set(re.findall(r"(?m)^ (\S+?)(?:,| |$)", control.split("Standards-Version")[0]))
        needed -= {"debhelper-compat"}
        self.assertLessEqual({name.split(":")[0] for name in needed}, installed)

    def test_the_bytes_do_not_depend_on_ccache(self):
        variable = re.search(r"find_program\((\w+) ccache\)", (ROOT / "CMakeLists.txt").read_text())[1]
        self.assertIn(f"-D{variable}=OFF", (DEBIAN / "rules").read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
