#!/usr/bin/env python3
"""Installs the packages of prefixd on a machine with systemd, in a container, and checks what an operator
relies on: machine_check.sh has the checks.

    tests/deploy/installed.py [PACKAGES [OLDER]]   (default build/packages, which deploy/package fills)

With OLDER, a folder of packages of a lower version (deploy/package --version 0.0.1 OLDER), it starts with
these, upgrades and goes back: both must stay warm from disk. prefixd-cuda is tried where PACKAGES has it.

It needs root, mmdebstrap and systemd-nspawn, and makes a root of Debian 12 once, in build/machine.tar. The
exit code is 1 when a check fails, and 77 where no such container can run.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
SECONDS = 1200
INCLUDED = "systemd-sysv,dbus,curl,procps,util-linux,apt,ca-certificates"
UNIT = """\
[Unit]
Description=checks of prefixd
After=multi-user.target prefixd.service

[Service]
Type=oneshot
ExecStart=/bin/bash -c '/root/machine_check.sh >/root/results 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=infinity
"""


def say(text):
    print(f"installed.py: {text}", file=sys.stderr, flush=True)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def packages_in(folder):
    return [next(folder.glob(f"{name}_*.deb"), None) for name in ("prefixd", "prefixd-demo-model")]


def make_root(packages, others, newest, folder):
    """Unpacks a root of Debian into the folder, with the packages and what they depend on. For later,
    `others` lie in /root/others, and prefixd-cuda, where the folder `newest` has it, in /root/cuda."""
    tar = ROOT / "build/machine.tar"
    if not tar.exists():
        say("making a root of Debian 12")
        part = tar.with_suffix(".part")
        run("mmdebstrap", "--variant=minbase", f"--include={INCLUDED}", "--format=tar", "bookworm", part)
        part.rename(tar)
    run("tar", "-C", folder, "-xf", tar)
    names = []
    for package in others:
        folder.joinpath("root/others").mkdir(exist_ok=True)
        shutil.copy(package, folder / "root/others")
    for package in packages:
        shutil.copy(package, folder / "root")
        names.append(f"/root/{package.name}")
    for package in newest.glob("prefixd-cuda_*.deb"):
        folder.joinpath("root/cuda").mkdir(exist_ok=True)
        shutil.copy(package, folder / "root/cuda")
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    say("installing " + ", ".join(package.name for package in packages))
    log = run("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", folder, "/bin/sh", "-c",
              "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy "
              "--no-install-recommends " + " ".join(names), capture_output=True, text=True).stdout
    assert "Setting up prefixd" in log, log[-2000:]


def check(folder):
    shutil.copy(HERE / "machine_check.sh", folder / "root")
    shutil.copy(HERE / "sandbox_probe.sh", folder / "usr/local")
    folder.joinpath("etc/systemd/system/check.service").write_text(UNIT, encoding="utf-8")
    wanted = folder / "etc/systemd/system/default.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    wanted.joinpath("check.service").symlink_to("/etc/systemd/system/check.service")
    say("starting the machine")
    with folder.joinpath("root/console").open("w", encoding="utf-8") as console:
        subprocess.run(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", str(folder), "-b"],
                       stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=SECONDS, check=False)
    results = folder / "root/results"
    if not results.exists():
        say("the machine gave no results; its console ends with:")
        print(folder.joinpath("root/console").read_text(encoding="utf-8", errors="replace")[-3000:])
        return False
    text = results.read_text(encoding="utf-8")
    print(text)
    lines = text.splitlines()
    return lines[-1] == "end" and all(line.startswith("ok ") for line in lines[:-1]) and len(lines) > 10


def main():
    for tool in ("mmdebstrap", "systemd-nspawn"):
        if shutil.which(tool) is None:
            say(f"skipped: {tool} is not installed")
            return SKIPPED
    if os.geteuid() != 0:
        say("skipped: it needs root")
        return SKIPPED
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/packages")
    packages = packages_in(folder)
    others = []
    if len(sys.argv) > 2:
        packages, others = packages_in(pathlib.Path(sys.argv[2])), packages
    if None in packages + others:
        say(f"packages are missing in {' or '.join(sys.argv[1:]) or folder}; make them with deploy/package")
        return 2
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as root:
        machine = pathlib.Path(root)
        machine.chmod(0o755)
        make_root(packages, others, folder, machine)
        return 0 if check(machine) else 1


if __name__ == "__main__":
    sys.exit(main())
