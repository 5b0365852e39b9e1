#!/usr/bin/env python3
"""tests/fuzz/planted.py [NAME...]: does every harness find a bug? Plants one in a copy of the tree, builds that harness and
runs it from its seeds for two minutes at most; a harness that finds nothing fails. Takes a quarter of an hour when the fuzz
build is in ccache, so it is run by hand: after a change of a harness or of its seeds.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COPY = ROOT / "build/planted"
SECONDS = 120

# Harness to (file, what stands there once, what takes its place): each takes one check away.
BUGS = {
    "chat_template": ("text/jinja/operators.cc", "if (at >= 0 && at < length) {", "if (at < length) {"),
    "config": ("model/config.cc", " || config->heads % config->kv_heads != 0) {", ") {"),
    "record": ("storage/record.cc", "if (bytes.size() < kRecordHeaderBytes)", "if (bytes.empty())"),
    "request": ("daemon/api/completion_request.cc", "if (*number < 0 || *number >= context.vocab_size) {", "if (*number < 0) {"),
    "safetensors": ("model/safetensors.cc", "length > kLongestHeader || length > rest.size()", "length > kLongestHeader"),
    "tokenizer": ("text/tokenizer/bpe.cc", "id < 0 || id >= end_id() ||", "id < 0 ||"),
}


def copy_tree():
    """The files of the tree into COPY; those that are the same keep their time, so that ninja builds little."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for name in names:
        source, target = ROOT / name, COPY / name
        if source.is_file() and not (target.is_file() and source.read_bytes() == target.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def quiet(*command):
    done = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"planted: {' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def hunt(name):
    """What the harness says of the bug, and after how many inputs; None when it finds nothing."""
    found = COPY / "build/found" / name
    shutil.rmtree(found, ignore_errors=True)
    (found / "corpus").mkdir(parents=True)
    words = ROOT / f"tests/fuzz/dictionary/{name}.dict"
    done = subprocess.run([COPY / f"build/fuzz/tests/fuzz/fuzz_{name}", *([f"-dict={words}"] if words.exists() else []), f"-max_total_time={SECONDS}", "-seed=1", "-timeout=10",
                           "-rss_limit_mb=4096", "-print_final_stats=1", f"-artifact_prefix={found}/", found / "corpus",
                           ROOT / "tests/fuzz/corpus" / name], capture_output=True, text=True, errors="replace",
                          env={**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1"})
    if done.returncode == 0:
        return None
    said = re.search(r"ERROR: AddressSanitizer: \S+|runtime error: .*|CHECK failed.*|.*\.cc:\d+: .*|ERROR: libFuzzer: .*", done.stderr)
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    return f"{said.group().strip() if said else 'exit code ' + str(done.returncode)}, after {runs.group(1) if runs else '?'} inputs"


def try_bug(name):
    path, there, planted = BUGS[name]
    file = COPY / path
    whole = file.read_text()
    if whole.count(there) != 1:
        sys.exit(f"planted: {path} has '{there}' {whole.count(there)} times, not once; name another line in BUGS")
    file.write_text(whole.replace(there, planted))
    try:
        quiet("ninja", "-C", "build/fuzz", f"fuzz_{name}")
        begun = time.monotonic()
        said = hunt(name)
    finally:
        file.write_text(whole)
    print(f"{name:<16} {f'found in {time.monotonic() - begun:.0f} s: {said}' if said else 'NOT FOUND'}", flush=True)
    return said is not None


def main():
    names = sys.argv[1:] or sorted(BUGS)
    missing = {path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.cc")} ^ set(BUGS)
    if missing:
        sys.exit(f"planted: no bug, or no harness, for {', '.join(sorted(missing))}")
    copy_tree()
    quiet("cmake", "--preset", "fuzz")
    results = [try_bug(name) for name in names]
    print(f"{sum(results)} of {len(results)} planted bugs were found")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
