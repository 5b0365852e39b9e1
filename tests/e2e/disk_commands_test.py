"""Tests of `prefixd inspect`, `purge` and `verify` on directories of a disk cache.

disk_cache_tool makes the directories, and holds one open as a daemon does.
"""

import hashlib
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import tempfile

import pytest

from daemon import PATIENCE, PROGRAM, ROOT, run

TOOL = pathlib.Path(os.environ.get("PREFIXD_DISK_CACHE_TOOL",
                                   ROOT / "build/release/tests/support/disk_cache_tool"))


@pytest.fixture
def cache(tmp_path):
    """A directory of a disk cache: two models, two tenants, one damaged record, one deleted one."""
    folder = tmp_path / "cache"
    done = subprocess.run([TOOL, "sample", folder], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


class Held:
    """A context manager in which another process uses the directory."""

    def __init__(self, folder):
        self.process = subprocess.Popen([TOOL, "hold", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self.process.pid

    def __exit__(self, *_):
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


def inspect(folder):
    done = run("inspect", folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def records(folder):
    return {model["fingerprint"]: model["records"] for model in inspect(folder)["models"]}


def snapshot(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
            for path in [folder, *folder.rglob("*")]}


def physical(folder):
    return sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])


def test_inspect_says_what_is_there(cache):
    folder, made = cache
    report = inspect(folder)
    assert report["physical_bytes"] == physical(folder)
    assert (report["in_use"], report["pid"], report["segments_damaged"]) == (False, None, 0)
    first, second = report["models"]
    assert [first["fingerprint"], second["fingerprint"]] == [made["first"], made["second"]]
    assert (first["records"], first["tokens"], first["tenants"], first["prefixes"]) == (21, 272, 2, 3)
    assert (second["records"], second["tokens"], second["tenants"]) == (5, 72, 2)
    assert second["dead_bytes"] > 0 and first["dead_bytes"] == 0
    assert first["payload_raw_bytes"] == 21 * 64000 > first["payload_stored_bytes"] > 0
    assert first["newest"] - first["oldest"] == 9.5 * 86400
    tenants = {tenant["root"]: tenant["records"] for tenant in first["top_tenants"]}
    assert tenants == {made["alice"]: 12, made["nobody"]: 9}
    top = first["top_prefixes"][0]
    assert (top["root"], top["records"], top["shared_tokens"]) == (made["alice"], 12, 32)
    assert top["first_tokens"] == list(range(100, 108)) and top["begins_prompt"]
    text = run("inspect", folder).stdout
    for words in (f"model {made['first']}", "used by       no process", "21 with 272 tokens", "10 d ago",
                  "tenants       2", made["alice"], "100 101 102 103 104 105 106 107 ...",
                  "their text needs the model"):
        assert words in text, words


def test_beside_a_daemon_reading_works_and_purging_is_refused(cache):
    folder, _ = cache
    with Held(folder) as pid:
        before = snapshot(folder)
        report = inspect(folder)
        assert (report["in_use"], report["pid"]) == (True, str(pid))
        assert f"used by       process {pid}" in run("inspect", folder).stdout
        assert run("verify", folder).returncode == 1
        assert run("purge", folder, "--all", "--dry-run").returncode == 0
        for command in (["purge", folder, "--all", "--yes"], ["verify", folder, "--delete"]):
            done = run(*command)
            assert done.returncode == 1
            assert f"is in use by process {pid}; stop that daemon first" in done.stderr
            answer = json.loads(run(*command, "--json").stdout)
            assert not answer["ok"] and answer["exit_code"] == 1 and str(pid) in answer["error"]
        assert snapshot(folder) == before
    assert sum(records(folder).values()) == 26


def test_a_second_daemon_may_start_while_others_inspect(cache):
    folder, _ = cache
    with subprocess.Popen(["sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do {PROGRAM} inspect {folder}; done"],
                          stdout=subprocess.DEVNULL) as reader:
        for _ in range(5):
            with Held(folder):
                pass
        assert reader.wait(PATIENCE) == 0


def test_purge_by_tenant_leaves_no_byte(cache):
    folder, made = cache
    key = bytes.fromhex(made["alice"])[::-1]  # as it lies in a record
    assert any(key in path.read_bytes() for path in folder.rglob("*.sst"))
    plan = run("purge", folder, "--tenant", "alice", "--dry-run")
    assert plan.returncode == 0 and "goes: 16 records" in plan.stdout and "dry run" in plan.stdout
    assert records(folder) == {made["first"]: 21, made["second"]: 5}
    done = run("purge", folder, "--tenant", "alice", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["records"] == 16 and answer["models"] == {made["first"]: 12, made["second"]: 4}
    assert records(folder) == {made["first"]: 9, made["second"]: 1}
    assert not any(key in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert (folder.stat().st_mode & 0o777, inspect(folder)["in_use"]) == (0o700, False)
    again = run("purge", folder, "--tenant", "alice", "--yes")
    assert again.returncode == 0 and "removed 0 records" in again.stdout
    assert "nothing matches: there are 10 records of 2 models" in again.stdout
    assert "--tenant-key" in again.stdout


def test_filters_combine(cache):
    folder, made = cache
    answer = json.loads(run("purge", folder, "--json", "--yes", "--older-than", "7d",
                            "--model", made["first"][:4]).stdout)
    assert answer["records"] == 12
    assert records(folder) == {made["first"]: 9, made["second"]: 5}
    assert json.loads(run("purge", folder, "--json", "--yes", "--older-than", "7d").stdout)["records"] == 0
    done = run("purge", folder, "--yes", "--tenant", "", "--model", made["second"])
    assert "removed 0 records" in done.stdout
    assert run("purge", folder, "--yes", "--tenant", "").returncode == 0
    assert records(folder) == {made["second"]: 5}
    assert "removed 5 records" in run("purge", folder, "--yes", "--model", made["second"].upper()).stdout
    assert records(folder) == {}


def test_a_tenant_may_be_an_api_key(cache, tmp_path):
    folder, made = cache
    keys = tmp_path / "key"
    for text, words in (("", "contains no key"), ("a\nb\n", "has 2 keys")):
        keys.write_text(text)
        done = run("purge", folder, "--tenant-key", keys, "--yes")
        assert done.returncode == 2 and words in done.stderr
    unreadable = run("purge", folder, "--tenant-key", "/none", "--yes").stderr
    assert "--tenant-key: cannot read '/none': No such file or directory" in unreadable
    keys.write_text("key-of-bob\n")
    answer = json.loads(run("purge", folder, "--tenant-key", keys, "--yes", "--json").stdout)
    assert answer["models"] == {made["second"]: 1}
    assert records(folder) == {made["first"]: 21, made["second"]: 4}


def test_purge_of_a_tenant_takes_all_of_its_salts_and_nothing_else(tmp_path):
    folder, key = tmp_path / "cache", tmp_path / "key"
    subprocess.run([TOOL, "tenants", folder], check=True, timeout=PATIENCE)
    key.write_text("key-of-bob\n")

    def left(*filters):
        assert run("purge", folder, *filters, "--yes").returncode == 0
        return sum(records(folder).values())
    assert left("--tenant", "dave") == 15
    assert left("--tenant-key", key, "--tenant", "s") == 13
    assert left("--tenant", "carol") == 1
    key.write_text(f"sha256:{hashlib.sha256(b'key-of-bob').hexdigest()} rights=generate\n")
    assert left("--tenant-key", key) == 0, "the entry of a key names the tenant as the key does"


def test_purge_of_everything_takes_what_is_set_aside(cache):
    folder, _ = cache
    aside = folder.with_name("cache.damaged-1")
    aside.mkdir()
    (aside / "old").write_bytes(b"x" * 10000)
    (folder / "segments-9").mkdir()
    notes = folder / "segments-1/notes.txt"
    notes.write_text("of somebody else")
    done = run("purge", folder, "--tenant", "alice", "--yes")
    assert f"stays: {aside}" in done.stdout and aside.exists()
    report = inspect(folder)
    assert [entry["path"] for entry in report["set_aside"]] == [str(aside)]
    assert report["physical_bytes"] == physical(folder) + physical(aside)
    done = run("purge", folder, "--all", "--yes")
    assert done.returncode == 0 and f"goes: {aside}" in done.stdout
    assert f"stays: {notes}" in done.stdout and list(notes.parent.iterdir()) == [notes]
    answer = json.loads(run("purge", folder, "--all", "--yes", "--json").stdout)
    assert answer["foreign_files"] == [str(notes)]
    notes.unlink()
    assert run("purge", folder, "--all", "--yes").returncode == 0
    assert [path.name for path in folder.iterdir()] == ["lock"] and not aside.exists()
    report = inspect(folder)
    assert report["models"] == [] and "There are no records" in run("inspect", folder).stdout
    assert run("verify", folder).returncode == 0
    assert "removed 0 records" in run("purge", folder, "--tenant", "alice", "--yes").stdout


def answered(folder, answer):
    """Runs a purge on a terminal. Returns its output and exit code."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([PROGRAM, "purge", folder, "--tenant", "alice"], stdin=follower,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.close(follower)
    os.write(leader, answer)
    output, _ = process.communicate(timeout=PATIENCE)
    os.close(leader)
    return output, process.returncode


def test_purge_asks_on_a_terminal_and_only_there(cache):
    folder, _ = cache
    done = run("purge", folder, "--tenant", "alice")
    assert done.returncode == 2
    assert "add --yes, or --dry-run" in done.stderr
    for no in (b"n\n", b"\n", b"yikes\n", b"\x04"):
        output, code = answered(folder, no)
        assert "Remove them? [y/N]" in output and "nothing was removed" in output and code == 1
    assert sum(records(folder).values()) == 26
    output, code = answered(folder, b"y\n")
    assert "removed 16 records" in output and code == 0
    assert sum(records(folder).values()) == 10


def test_verify_finds_and_deletes_damage(cache):
    folder, made = cache
    done = run("verify", folder)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"^26 records with .* read, 1 of them damaged$", done.stdout, re.M)
    assert re.search(rf"^  [0-9a-f]{{32}} of model {made['first']}, segment \d+: checksum$", done.stdout,
                     re.M)
    answer = json.loads(run("verify", folder, "--json").stdout)
    assert (answer["ok"], answer["records"], answer["defects"]) == (False, 26, {"checksum": 1})
    answer = json.loads(run("verify", folder, "--json", "--delete").stdout)
    assert answer["removed_records"] == 1
    done = run("verify", folder)
    assert done.returncode == 0 and "25 records" in done.stdout
    # A table that is cut, and one whose bytes are changed.
    tables = sorted(folder.rglob("*.sst"))
    os.truncate(tables[0], 500)
    data = bytearray(tables[-1].read_bytes())
    data[200] ^= 1
    tables[-1].write_bytes(data)
    answer = json.loads(run("verify", folder, "--json").stdout)
    assert answer["damaged_segments"] == 1 and answer["defects"].get("table", 0) > 0
    assert run("verify", folder, "--delete").returncode == 1
    assert run("verify", folder).returncode == 0


def test_errors_name_the_directory_and_the_remedy(cache, tmp_path):
    folder, made = cache
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, code, words in (
        (["inspect", tmp_path / "none"], 2, f"there is no directory '{tmp_path / 'none'}'; give the --disk-"),
        (["verify", empty], 2, f"'{empty}' is not the directory of a disk cache"),
        (["inspect", ROOT / "README.md"], 2, "is not a directory"),
        (["inspect"], 2, "DIR is required"),
        (["purge", folder, "--yes"], 2, "say what to purge"),
        (["purge", folder, "--yes", "--all", "--model", "92"], 2, "--all removes everything"),
        (["purge", folder, "--yes", "--model", "77"], 2, made["first"]),
        (["purge", folder, "--yes", "--model", "xyz"], 2, "'xyz' is not the beginning of a fingerprint"),
        (["purge", folder, "--yes", "--older-than", "soon"], 2, "'soon' is not a span of time"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert words in done.stderr, done.stderr
        assert list(empty.iterdir()) == []
    assert sum(records(folder).values()) == 26


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a program as another user")
def test_other_users_are_refused_and_root_acts_as_the_owner(cache):
    somebody = ["setpriv", "--reuid=65534", "--clear-groups"]
    if subprocess.run([*somebody, "test", "-x", PROGRAM]).returncode != 0:
        pytest.skip("other users may not run this program")
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o711)
        folder = pathlib.Path(open_to_all) / "cache"
        shutil.copytree(cache[0], folder)
        refused = subprocess.run([*somebody, PROGRAM, "inspect", folder], capture_output=True, text=True,
                                 timeout=PATIENCE)
        assert refused.returncode == 2 and "Permission denied" in refused.stderr
        assert "it belongs to the user with the id 0: run this as that user, or as root" in refused.stderr
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        done = run("purge", folder, "--tenant", "alice", "--yes")
        assert done.returncode == 0, done.stderr
        assert {path.stat().st_uid for path in folder.rglob("*")} == {65534}


def test_a_database_that_does_not_open_is_said(cache):
    folder, _ = cache
    (folder / "segments-1" / "CURRENT").write_text("MANIFEST-999999\n")
    done = run("inspect", folder)
    assert done.returncode == 1 and "does not open" in done.stdout
    assert not json.loads(run("inspect", folder, "--json").stdout)["ok"]
    for command in (["verify", folder], ["purge", folder, "--tenant", "alice", "--yes"]):
        done = run(*command)
        assert done.returncode == 1 and "purge --all removes it" in done.stderr
    assert not folder.with_name("cache.damaged-1").exists()
    assert run("purge", folder, "--all", "--yes").returncode == 0
    assert inspect(folder)["models"] == []
