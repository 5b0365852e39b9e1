"""Packs prefixd with deploy/image and runs the image as a container runtime would, without one."""

import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from daemon import PATIENCE, PROGRAM, ROOT, Daemon

pytestmark = [
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root"),
]
USER = 65532

MODULE = PROGRAM.with_name("libprefixd_cuda.so")


@pytest.fixture(scope="module", autouse=True)
def needs_a_buildah_that_works(tmp_path_factory):
    """It may be installed where it may not work: without namespaces, or where nothing may be mounted."""
    archive = f"oci-archive:{tmp_path_factory.mktemp('tried')}/image.tar"
    tried = subprocess.run(["buildah", "from", "scratch"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        name = tried.stdout.strip()
        tried = subprocess.run(["buildah", "commit", "--quiet", name, archive],
                               capture_output=True, text=True, check=False)
        subprocess.run(["buildah", "rm", name], capture_output=True, check=True)
    if tried.returncode != 0:
        pytest.skip("buildah may not make images here: " + tried.stderr.strip()[-200:])


def make_image(path, *options):
    done = subprocess.run([ROOT / "deploy/image", "--demo", *options, "--program", PROGRAM, path],
                          capture_output=True, text=True, timeout=PATIENCE * 3, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def may_mount():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def blob(archive, digest):
    return archive.extractfile("blobs/sha256/" + digest.removeprefix("sha256:"))


def unpack(path, digest, root):
    """Unpacks the layers into `root`. Returns the configuration."""
    with tarfile.open(path) as archive:
        manifest = json.load(blob(archive, digest))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(archive, layer["digest"])) as files:
                files.extractall(root, numeric_owner=True, filter="fully_trusted")
        return json.load(blob(archive, manifest["config"]["digest"]))


@pytest.fixture(scope="module", name="image")
def packed_image(tmp_path_factory):
    """Returns (digest, configuration, folder of the root)."""
    folder = tmp_path_factory.mktemp("image")
    digest = make_image(folder / "image.tar")
    return digest, unpack(folder / "image.tar", digest, folder / "root"), folder / "root"


def test_two_images_of_a_program_have_one_digest(image, tmp_path):
    assert make_image(tmp_path / "again.tar") == image[0]


def test_it_says_how_it_is_run(image):
    config = image[1]["config"]
    assert config["User"] == f"{USER}:{USER}" and config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/bin/prefixd"] and config["Cmd"][0] == "serve"
    assert list(config["Volumes"]) == ["/var/cache/prefixd"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "prefixd"
    assert labels["org.opencontainers.image.version"][0].isdigit()


def test_it_has_no_shell(image):
    assert {path.name for path in (image[2] / "bin").iterdir()} == {"prefixd", "ld-linux-x86-64.so.2"}
    assert not [path for path in image[2].rglob("*") if path.name in ("sh", "bash", "busybox", "dpkg")]


@pytest.mark.skipif(not MODULE.exists(), reason="libprefixd_cuda.so is not built")
def test_that_for_a_gpu_has_the_module_and_no_toolkit(image, tmp_path):
    first, second = (make_image(tmp_path / f"{number}.tar", "--cuda") for number in (1, 2))
    assert first == second != image[0]
    config = unpack(tmp_path / "1.tar", first, tmp_path / "root")["config"]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in config["Env"]
    assert not [each for each in config["Env"] if each.startswith("NVIDIA_VISIBLE_DEVICES=")]
    added = {path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*")}
    added -= {path.relative_to(image[2]) for path in image[2].rglob("*")}
    assert pathlib.Path("bin/libprefixd_cuda.so") in added
    assert not [path for path in added if path.name.startswith(("libcu", "libnv"))]


@pytest.mark.skipif(not may_mount(), reason="no mount namespace can be made here")
def test_it_answers_from_a_read_only_root(image, tmp_path):
    """The root is mounted read-only, the volume is empty, and the user is that of the image."""
    root = image[2]
    script = tmp_path / "run"
    # A mount namespace of its own: nothing is left mounted.
    script.write_text(f"""#!/bin/sh
exec unshare --mount sh -c '
  set -e
  mount --bind {root} {root}
  mount -o remount,bind,ro {root}
  mount -t tmpfs -o uid={USER},gid={USER},mode=700 tmpfs {root}/var/cache/prefixd
  exec chroot --userspec={USER}:{USER} {root} /bin/prefixd "$@"' sh "$@"
""", encoding="utf-8")
    script.chmod(0o755)
    admin = "unix:/var/cache/prefixd/admin"
    with Daemon("--admin-listen", admin, model="/models/demo", program=script,
                environment={"PREFIXD_DISK_CACHE_DIR": "/var/cache/prefixd/kv"}) as daemon:
        status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="utf-8")
        assert f"Uid:\t{USER}\t{USER}" in status
        prompt = "Once upon a time there was a number. " * 12
        first, second = (daemon.complete(prompt=prompt, max_tokens=4)["usage"]["prompt_tokens_details"]
                         ["cached_tokens"] for _ in range(2))
        assert first == 0 and second > 100
        # The health check of a runtime: the same program, in the same container.
        done = subprocess.run(["nsenter", "--target", str(daemon.process.pid), "--mount", "chroot",
                               f"--userspec={USER}:{USER}", root, "/bin/prefixd", "inspect", "--live", admin,
                               "ready"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        daemon.signal()
        assert daemon.exit_code() == 0
