#!/usr/bin/env python3
"""Tests of the tree itself: include edges, users of third-party headers, sizes, completeness of the build.

docs/ARCHITECTURE.md states the rules; the tables below hold the tree to them. Every rule is also tested on a
planted violation.
"""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# A folder may include itself and these. The longest prefix of a file's path is its rule.
EDGES = {
    "base": (),
    "hashing": ("base",),
    "storage": ("base", "hashing"),
    "kernels": ("base",),
    "cache": ("base", "hashing", "storage"),
    "text/jinja": ("base",),
    "text/tokenizer": ("base",),
    "text/output": ("base",),
    "text": ("base",),
    "grammar": ("base", "text"),
    "model": ("base", "hashing", "kernels"),
    "events": ("base", "hashing", "cache"),
    "engine": ("base", "hashing", "cache", "grammar", "kernels", "model", "text"),
    "daemon/http": ("base", "daemon/limit_table.h"),
    "daemon/api": ("base", "text", "grammar", "engine", "cache", "daemon/http", "daemon/limit_table.h",
                   "daemon/server_state.h"),
    "daemon/admin": ("base", "hashing", "cache", "engine", "daemon/http", "daemon/api",
                     "daemon/limit_table.h", "daemon/cache_actions.h", "daemon/disk_tier.h",
                     "daemon/remote_tier.h", "daemon/serve_plan.h", "daemon/command_output.h",
                     "daemon/exit_code.h"),
    "daemon": ("base", "hashing", "text", "grammar", "storage", "kernels", "model", "cache", "engine",
               "events"),
}
# Third-party headers: who may include them. The longest matching prefix of the header counts.
THIRD_PARTY = {
    "rocksdb/": r"storage/rocksdb_segment_db\.cc|storage/rocksdb_(files|read_only)\.h",
    "xxhash.h": r"hashing/\w+\.cc",
    "hiredis/": r"storage/redis_protocol\.cc",
    "zmq.h": r"events/event_sockets\.cc|tests/events/.*",
    "zstd.h": r"(storage/payload_codec|bench/kv_codecs)\.cc",
    "lz4": r"bench/kv_codecs\.cc",
    "cublas": r"(kernels/cuda/module|tests/kernels/cuda|bench/gpu)/.*",
    "cuda": r"(kernels/cuda/module|tests/kernels/cuda|bench/gpu)/.*",
    "pcre2.h": r"text/tokenizer/\w+\.cc",
    "utf8proc.h": r"text/(tokenizer|jinja)/\w+\.cc",
    "boost/": r"daemon/.*",
    "boost/context": r"tests/support/cuda_emulation/.*",
    "boost/json": r"(base|text|grammar|model|engine|daemon|bench|tests)/.*",
    "boost/asio": r"(tests/)?daemon/http/\w+\.(cc|h)",
    "boost/beast": r"daemon/http/session\w*\.(cc|h)",
    "prometheus/": r"daemon/metrics\.cc",
    "CLI/": r"daemon/cli\.cc",
    "spdlog/": r"daemon/log_sink\.cc",
    "systemd/": r"daemon/process_control\.cc",
    "openssl/": r"daemon/.*\.cc|storage/tls_client\.cc",
    "gtest/": r"tests/.*",
    "gmock/": r"tests/.*",
    "benchmark/": r"bench/.*",
    "curl/": r"bench/serve_client\.cc",
}
# cache is a pure state machine: no thread, clock or file of its own.
CACHE_MUST_NOT = {"thread", "mutex", "shared_mutex", "condition_variable", "future", "chrono", "ctime",
                  "fstream", "iostream", "filesystem", "random"}
# Locks go through base/mutex.h, whose annotations clang checks.
STANDARD_LOCKS = re.compile(r"\bstd::(mutex|shared_mutex|condition_variable)\b")
# What only kernels/cuda/device_cuda.inl.h may have: code of kernels is compiled for the host as well.
DEVICE_WORDS = re.compile(r"\b(asm|__asm__|threadIdx|blockIdx|blockDim|gridDim|__(?:shared|sync|shfl)\w+)\b")
FILE_LINES = 500
FUNCTION_LINES = 70
LINE_COLUMNS = 110
DATA = ("tests/fuzz/corpus/", "tests/golden/variants/")
CODE = {".h", ".cc", ".cu", ".cuh", ".py", ".js", ".css", ".html"}
# Written in two halves, so that this file does not break its own rule.
BANNED = {
    "/" + "work/": "a path of one machine",
    "/" + "tmp/": "tests make their own folder (mkdtemp)",
    "TO" + "DO": "say what is true now",
    "FIX" + "ME": "mend it",
}


def tree():
    """Paths of all files that are or would be tracked."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and "build" not in p.parts]
    return sorted(name for name in names if (ROOT / name).is_file())


def longest_prefix(table, path):
    found = [key for key in table if path.startswith(key)]
    return max(found, key=len) if found else None


def folder_of(path):
    found = [key for key in EDGES if path.startswith(key + "/")]
    return max(found, key=len) if found else None


def include_faults(path, text):
    folder = folder_of(path)
    faults = []
    for kind, name in re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', text, re.M):
        if kind == '"' and folder is not None:
            allowed = (folder,) + EDGES[folder]
            if not any(name == a or name.startswith(a + "/") for a in allowed):
                faults.append(f"{path} includes {name}: {folder} may include {', '.join(allowed)}")
        if kind == "<":
            library = longest_prefix(THIRD_PARTY, name)
            if library is not None and not re.fullmatch(THIRD_PARTY[library], path):
                faults.append(f"{path} includes <{name}>: that is for {THIRD_PARTY[library]}")
            if folder == "cache" and name in CACHE_MUST_NOT:
                faults.append(f"{path} includes <{name}>: the cache has no thread, clock or file of its own")
    return faults


def size_faults(path, text):
    lines = text.count("\n")
    faults = [f"{path} has {lines} lines; {FILE_LINES} are the limit"] if lines > FILE_LINES else []
    if path.endswith((".h", ".cc", ".cu", ".cuh")):
        begin = None
        for number, line in enumerate(text.splitlines(), 1):
            # In this style a definition at namespace level begins and ends in the first column.
            is_type = re.match(r"^(namespace|struct|class|enum|union|extern)\b", line)
            if re.match(r"^[A-Za-z_].*\{$", line) and not is_type:
                begin = number
            elif line == "}" and begin is not None:
                if (size := number - begin + 1) > FUNCTION_LINES:
                    faults.append(f"{path}:{begin}: a function of {size} lines, over {FUNCTION_LINES}")
                begin = None
    return faults


def width_faults(path, text):
    if path.startswith("bench/results/"):
        return []  # what programs printed
    return [f"{path}:{number}: {len(line)} columns; {LINE_COLUMNS} are the limit"
            for number, line in enumerate(text.splitlines(), 1) if len(line) > LINE_COLUMNS]


def banned_faults(path, text):
    return [f"{path}: '{word}': {why}" for word, why in BANNED.items() if word in text]


def lock_faults(path, text):
    """Product code only: tests may use the standard library's locks."""
    if path == "base/mutex.h" or folder_of(path) is None:
        return []
    return [f"{path} uses {found}: use Mutex or CondVar of base/mutex.h"
            for found in sorted({match.group(0) for match in STANDARD_LOCKS.finditer(text)})]


def device_faults(path, text):
    if not path.startswith("kernels/cuda/") or path == "kernels/cuda/device_cuda.inl.h":
        return []
    return [f"{path} uses {found}: call the functions of kernels/cuda/device.h"
            for found in sorted(set(DEVICE_WORDS.findall(text)))]


def header_faults(path, text):
    if not path.endswith(".h"):
        return []
    faults = [] if text.startswith("//") else [f"{path} does not open with what it is"]
    once = "#pragma once" in text or path.endswith(".inl.h")  # those are included once per instruction set
    return faults if once else faults + [f"{path} lacks #pragma once"]


class Tree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.names = tree()
        # Documents, build files and scripts: what the rules of words and widths hold for beside the code.
        cls.prose = [name for name in cls.names if not name.startswith(DATA)
                     and pathlib.Path(name).suffix in ("", ".md", ".sh", ".service", ".toml", ".txt")]
        cls.texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in cls.names
                     if pathlib.Path(name).suffix in CODE}

    def check(self, rule):
        faults = [fault for name, text in self.texts.items() for fault in rule(name, text)]
        self.assertEqual(faults, [], "\n".join([""] + faults))

    def check_prose(self, rule):
        texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in self.prose}
        faults = [fault for name, text in texts.items() for fault in rule(name, text)]
        self.assertEqual(faults, [], "\n".join([""] + faults))

    maxDiff = None

    def test_there_is_a_tree(self):
        self.assertGreater(len(self.texts), 50)

    def test_include_edges_and_third_party_headers(self):
        self.check(include_faults)

    def test_sizes_of_files_and_functions(self):
        self.check(lambda name, text: [] if name.endswith("corpus_data.py") else size_faults(name, text))

    def test_widths_of_lines(self):
        self.check(width_faults)
        self.check_prose(width_faults)

    def test_locks_are_annotated(self):
        self.check(lock_faults)

    def test_kernels_touch_hardware_through_device_h(self):
        self.check(device_faults)
        self.assertIn("kernels/cuda/device_cuda.inl.h", self.texts)

    def test_headers_open_with_what_they_are(self):
        self.check(header_faults)

    def test_nothing_names_this_machine_or_promises_work(self):
        self.check(banned_faults)
        self.check_prose(banned_faults)

    def test_every_source_is_in_the_build(self):
        lists = {n: (ROOT / n).read_text() for n in self.names if n.endswith("CMakeLists.txt")}
        everywhere = "\n".join(lists.values())
        left_out = []
        for name in self.names:
            path = pathlib.Path(name)
            if path.suffix != ".cc" or name.startswith("tests/fuzz/"):
                continue
            # By its name, or, where a loop makes the names, by its stem in the list of its folder.
            here = lists.get(str(path.parent / "CMakeLists.txt"), "")
            stem = path.stem.removesuffix("_test")
            if not re.search(rf"\b{path.name}\b", everywhere) and not re.search(rf"\b{stem}\b", here):
                left_out.append(name)
        self.assertEqual(left_out, [])

    def test_beast_stays_in_two_files(self):
        users = [n for n, t in self.texts.items() if n.endswith(".cc") and "#include <boost/beast" in t]
        self.assertLessEqual(len(users), 2, users)


class Rules(unittest.TestCase):
    """Each rule sees what it is for."""

    def test_edges(self):
        self.assertTrue(include_faults("base/a.h", '#include "cache/b.h"\n'))
        self.assertTrue(include_faults("text/a.cc", '#include "engine/engine.h"\n'))
        self.assertTrue(include_faults("daemon/http/a.cc", '#include "daemon/api/context.h"\n'))
        self.assertTrue(include_faults("cache/a.cc", "#include <mutex>\n"))
        self.assertTrue(include_faults("cache/a.cc", "#include <boost/json.hpp>\n"))
        self.assertTrue(include_faults("daemon/serve.cc", "#include <boost/beast/http.hpp>\n"))
        self.assertTrue(include_faults("engine/a.cc", '#include "a.h"\n'))
        self.assertTrue(include_faults("model/a.cc", '#include "engine/engine.h"\n'))
        self.assertTrue(include_faults("text/jinja/a.cc", '#include "text/tokenizer/tokenizer.h"\n'))
        self.assertTrue(include_faults("engine/a.cc", "#include <pcre2.h>\n"))
        self.assertTrue(include_faults("hashing/a.cc", "#include <boost/json.hpp>\n"))
        self.assertTrue(include_faults("storage/record.cc", "#include <zstd.h>\n"))
        self.assertTrue(include_faults("storage/payload_codec.cc", "#include <lz4.h>\n"))
        self.assertEqual(include_faults("engine/a.cc", '#include "text/b.h"\n#include <vector>\n'), [])

    def test_sizes(self):
        body = "int F() {\n" + "  g();\n" * FUNCTION_LINES + "}\n"
        self.assertTrue(size_faults("base/a.cc", body))
        self.assertEqual(size_faults("base/a.cc", "int F() {\n  g();\n}\n"), [])
        self.assertTrue(size_faults("a.py", "\n" * (FILE_LINES + 1)))

    def test_widths(self):
        self.assertTrue(width_faults("a.md", "| " + "x" * LINE_COLUMNS + "\n"))
        self.assertEqual(width_faults("a.cc", "x" * LINE_COLUMNS + "\n"), [])

    def test_locks(self):
        for lock in ("mutex", "shared_mutex", "condition_variable"):
            self.assertTrue(lock_faults("engine/a.cc", f"std::{lock} x;\n"), lock)
            self.assertEqual(lock_faults("base/mutex.h", f"std::{lock} x;\n"), [])
            self.assertEqual(lock_faults("tests/engine/a.cc", f"std::{lock} x;\n"), [])
        self.assertTrue(lock_faults("base/a.h", "std::unique_lock<std::mutex> held(mutex_);\n"))
        self.assertEqual(lock_faults("engine/a.cc", "Mutex mutex;  // not std::mutexes\n"), [])

    def test_device_words(self):
        for code in ('asm volatile("bar;");', "int i = threadIdx.x;", "__syncthreads();", "__shfl_sync(1);"):
            self.assertTrue(device_faults("kernels/cuda/row_kernels.h", code + "\n"), code)
            self.assertTrue(device_faults("kernels/cuda/module/row_kernels.cu", code + "\n"), code)
            self.assertEqual(device_faults("kernels/cuda/device_cuda.inl.h", code + "\n"), [])
            self.assertEqual(device_faults("bench/gpu/copies.cu", code + "\n"), [])
        self.assertEqual(device_faults("kernels/cuda/row_kernels.h", "SyncThreads();  // plasma\n"), [])

    def test_words_and_headers(self):
        for word in BANNED:
            self.assertTrue(banned_faults("a.cc", f'// {word} x\n'), word)
        self.assertTrue(header_faults("a.h", "#pragma once\n"))
        self.assertTrue(header_faults("a.h", "// A thing.\n"))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=1))
