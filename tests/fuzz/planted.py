#!/usr/bin/env python3
"""tests/fuzz/planted.py [NAME...]: checks that every fuzz harness finds a bug.

For each harness it plants one bug in a copy of the tree, builds the harness and runs it from its seeds for at
most two minutes. A harness that does not find its bug fails. The script takes a quarter of an hour when the
fuzz build is in ccache, so it is run by hand, after a change to a harness or to its seeds.
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

# Harness to (file, text that occurs once in it, replacement). Each replacement removes one check.
BUGS = {
    "chat_template": ("text/jinja/operators.cc", "if (at >= 0 && at < length) {", "if (at < length) {"),
    "config": ("model/config.cc", " || config->heads % config->kv_heads != 0) {", ") {"),
    "gguf": ("model/gguf.cc", "one.bytes > data.size() || one.offset > data.size() - one.bytes",
             "one.bytes > data.size()"),
    "grammar_text": ("grammar/grammar_text.cc",
                     "if (at_ == text_.size()) return Error(\"a quote or bracket is not closed\");", ""),
    "json_schema": ("grammar/json_schema.cc", "if (place.depth > 2 * limits_.depth)", "if (false)"),
    "output": ("text/output/json_scanner.cc", "if (open_.back() != open) return Result::kFault;", ""),
    "payload": ("storage/payload_codec.cc", "if (length > count || length > stored->size())",
                "if (length > count)"),
    "record": ("storage/record.cc", "if (token_bytes > body.size())", "if (head.token_count > body.size())"),
    "redis": ("storage/redis_slots.cc", "reply.integer < 0 || reply.integer >= kRedisSlots)",
              "reply.integer < 0)"),
    "regex": ("grammar/regex.cc", "if (at_ == text_.size()) return Error(\"a class without ']'\");", ""),
    "request": ("daemon/api/completion_request.cc", "if (*number < 0 || *number >= context.vocab_size) {",
                "if (*number < 0) {"),
    "safetensors": ("model/safetensors.cc", "length > kLongestHeader || length > rest.size()",
                    "length > kLongestHeader"),
    "special_tokens": ("text/tokenizer/added_vocabulary.cc", " || vocabulary.taken.contains(next)) {", ") {"),
    "tokenizer": ("text/tokenizer/bpe.cc", "id < 0 || id >= end_id() ||", "id < 0 ||"),
}


def copy_tree():
    """Copies the files of the tree to COPY. Equal files keep their time stamps, so that ninja rebuilds
    little."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
                           check=True,
                           capture_output=True,
                           text=True).stdout.splitlines()
    for name in names:
        source, target = ROOT / name, COPY / name
        if source.is_file() and not (target.is_file() and source.read_bytes() == target.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def quiet(*command):
    done = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"planted: {' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def run_harness(name):
    """Runs one harness. Returns its error and the number of inputs until then; None when it finds nothing."""
    found = COPY / "build/found" / name
    shutil.rmtree(found, ignore_errors=True)
    (found / "corpus").mkdir(parents=True)
    words = ROOT / f"tests/fuzz/dictionary/{name}.dict"
    dictionary = [f"-dict={words}"] if words.exists() else []
    command = [
        COPY / f"build/fuzz/tests/fuzz/fuzz_{name}", *dictionary, f"-max_total_time={SECONDS}", "-seed=1",
        "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1", f"-artifact_prefix={found}/",
        found / "corpus", ROOT / "tests/fuzz/corpus" / name
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                          env={**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1"})
    if done.returncode == 0:
        return None
    error = re.search(
        r"ERROR: AddressSanitizer: \S+|runtime error: .*|CHECK failed.*|.*\.cc:\d+: .*|ERROR: libFuzzer: .*",
        done.stderr)
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    what = error.group().strip() if error else f"exit code {done.returncode}"
    return f"{what}, after {runs.group(1) if runs else '?'} inputs"


def try_bug(name):
    path, old, new = BUGS[name]
    file = COPY / path
    text = file.read_text()
    if text.count(old) != 1:
        sys.exit(
            f"planted: {path} has '{old}' {text.count(old)} times, not once; choose another line in BUGS")
    file.write_text(text.replace(old, new))
    try:
        quiet("ninja", "-C", "build/fuzz", f"fuzz_{name}")
        started = time.monotonic()
        error = run_harness(name)
    finally:
        file.write_text(text)
    found = f"found in {time.monotonic() - started:.0f} s: {error}"
    print(f"{name:<16} {found if error else 'NOT FOUND'}", flush=True)
    return error is not None


def main():
    names = sys.argv[1:] or sorted(BUGS)
    missing = {path.stem.removeprefix("fuzz_")
               for path in (ROOT / "tests/fuzz").glob("fuzz_*.cc")} ^ set(BUGS)
    if missing:
        sys.exit(f"planted: a bug or a harness is missing for {', '.join(sorted(missing))}")
    copy_tree()
    quiet("cmake", "--preset", "fuzz")
    results = [try_bug(name) for name in names]
    print(f"{sum(results)} of {len(results)} planted bugs were found")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
