#!/usr/bin/env python3
"""Builds the kit of bench/gpu in a folder that has nothing else, and runs its part for the CPU there.

    tests/bench/gpu_kit_test.py            # a few targets, with ccache: less than a minute
    tests/bench/gpu_kit_test.py --whole    # everything, without ccache, with nvcc where it is installed

The PATH has CMake, Ninja, a compiler and the tools of any system. What was compiled may include headers of
the kit, of the compiler and of the C library only, and what was linked needs no further library.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77  # the exit code that ctest counts as skipped
WHOLE = "--whole" in sys.argv[1:]
TOOLS = """awk basename bash cat chmod cmake cp ctest cut date dirname du env grep head ls mkdir mv ninja
           nproc readlink rm sed sh sleep sort tail tee timeout touch tr uname wc xargs
           ar as c++ cc cpp g++ gcc ld nm objdump ranlib strip""".split()
PACKAGES = ["Boost", "GTest", "RocksDB", "prometheus-cpp", "CLI11", "spdlog", "CURL", "zstd", "OpenSSL"]
HEADER_PACKAGES = re.compile(r"(libc6-dev|linux-libc-dev|libgcc-\d+-dev|libstdc\+\+-\d+-dev|cuda-\S+)"
                             r"(:\S+)?: ")
LIBRARIES = re.compile(r"(lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+)\.so\.\d+|ld-linux-x86-64\.so\.2)")
STAGES = ["probes", "tests", "kernels", "steps", "serving", "sanitizer"]


class Kit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.kit = pathlib.Path(cls.folder.name) / "kit"
        cls.build = cls.kit / "build/gpu-kit"
        tools = pathlib.Path(cls.folder.name) / "tools"
        tools.mkdir()
        for name in TOOLS + ([] if WHOLE else ["ccache"]):
            if found := shutil.which(name):
                (tools / name).symlink_to(found)
        nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
        if WHOLE and nvcc:
            (tools / "nvcc").write_text(f'#!/bin/sh\nexec {os.path.realpath(nvcc)} "$@"\n')
            (tools / "nvcc").chmod(0o755)
        # ccache keeps the language of messages apart.
        kept = {name: text for name, text in os.environ.items()
                if name in ("HOME", "LANG") or name.startswith(("CCACHE_", "LC_"))}
        cls.environment = {**kept, "PATH": str(tools)}
        cls.call([ROOT / "bench/gpu/pack", cls.kit], environment=None)

    @classmethod
    def call(cls, command, expected=0, environment="bare"):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cls.kit.parent,
                              env=cls.environment if environment == "bare" else None, timeout=1800)
        if done.returncode != expected:
            raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout[-4000:]}"
                                 f"{done.stderr[-4000:]}")
        return done.stdout + done.stderr

    def test_it_builds_and_runs_by_itself(self):
        if WHOLE:
            said = self.call([self.kit / "bench/gpu/run", "--limit", "1700"], expected=3)
            self.assertIn("build: passed", said)
            self.assertRegex(said, r"emulation: passed, \d+ s: 100% tests passed")
        else:
            absent = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in PACKAGES]
            self.call(["cmake", "-S", self.kit, "-B", self.build, "-G", "Ninja", "-DPREFIXD_GPU_KIT=ON",
                       "-DCMAKE_BUILD_TYPE=Release", "-DPREFIXD_CUDA=OFF", *absent])
            self.call(["ninja", "-C", self.build, "-j", "2", "cuda_row_test", "model_bench",
                       "cuda_kernel_bench"])
            self.call([self.build / "tests/kernels/cuda/cuda_row_test",
                       "--gtest_filter=CudaRows.*-*ProductsAreChains"])
            said = self.call([self.build / "model_bench", "--preset", "tiny", "--prompt", "20",
                              "--decode", "2", "--runs", "1", "--threads", "1"])
            self.assertRegex(said, "prefill .*of_peak.*\n.*decode .*of_read")
            said = self.call([self.kit / "bench/gpu/run", "--stages", " ".join(STAGES)], expected=3)
        for stage in STAGES:
            self.assertRegex(said, rf"\n  {stage}: no device, \d+ s: \w+ .*\w\n")
        codes = {row["part"]: row["exit_code"] for row in self.results() if row["name"] == "status"}
        self.assertEqual({stage: codes[stage] for stage in STAGES}, {stage: 3 for stage in STAGES})
        self.check_headers()
        self.check_libraries()
        if WHOLE:
            self.check_a_device()

    def results(self):
        lines = (self.build / "out/run.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def check_a_device(self):
        """A stage with a device, which the CPU emulates."""
        nvidia_smi = pathlib.Path(self.environment["PATH"]) / "nvidia-smi"
        nvidia_smi.write_text("#!/bin/sh\necho 'emulated device, 0.0, 1024 MiB'\n")
        nvidia_smi.chmod(0o755)
        module = self.build / "tests/kernels/cuda/module/emulated/libprefixd_cuda.so"
        said = self.call([self.kit / "bench/gpu/run", "--stages", "kernels", "--module", module, "--preset",
                          "tiny", "--context", "64"])
        self.assertRegex(said, r"\n  kernels: passed, \d+ s: [1-9]\d* rows\n")
        rows = [row for row in self.results() if row["part"] == "kernels" and row["name"] != "status"]
        self.assertEqual(len([row for row in rows if row["name"].endswith(": step")]), 6)
        self.assertTrue(all(row["value"] > 0 for row in rows))

    def check_headers(self):
        """Debian knows which package has a header."""
        listed = self.call(["ninja", "-C", self.build, "-t", "deps"])
        files = {os.path.normpath(self.build / line.strip()) for line in listed.splitlines()
                 if line.startswith(" ")}
        self.assertGreater(len(files), 200)
        kit = str(self.kit.resolve())
        real = {os.path.realpath(name) for name in files}
        real = {name for name in real if not name.startswith((f"{kit}/", "/usr/local/cuda"))}
        owners = subprocess.run(["dpkg-query", "-S", *sorted(real)], capture_output=True, text=True).stdout
        foreign = [line for line in owners.splitlines() if not HEADER_PACKAGES.match(line)]
        self.assertEqual(foreign, [])
        owned = {line.split(": ", 1)[1] for line in owners.splitlines()}
        self.assertEqual(sorted(real - owned), [])

    def check_libraries(self):
        programs = [self.build / "cuda_kernel_bench", self.build / "model_bench",
                    self.build / "tests/kernels/cuda/cuda_row_test"]
        programs += [path for path in [self.build / "libprefixd_cuda.so"] if path.exists()]
        for program in programs:
            needed = re.findall(r"NEEDED\s+(\S+)", self.call(["objdump", "-p", program]))
            self.assertTrue(needed, program)
            self.assertEqual([name for name in needed if not LIBRARIES.fullmatch(name)], [], program)

    def test_run_explains_wrong_arguments(self):
        for arguments, words in ((["--stages", "none"], "no stage none; the stages are build"),
                                 (["--limit", "soon"], "--limit soon: not a number"),
                                 (["--fast"], "unknown argument --fast")):
            self.assertIn(words, self.call([self.kit / "bench/gpu/run", *arguments], expected=2))

    def test_pack_explains_wrong_arguments(self):
        for arguments, code, words in (([], 2, "the folder to make is missing"),
                                       (["--x"], 2, "unknown argument"), ([self.kit], 1, "is not empty")):
            self.assertIn(words, self.call([ROOT / "bench/gpu/pack", *arguments], code, environment=None))


if __name__ == "__main__":
    if not pathlib.Path("/usr/src/googletest").exists() or shutil.which("dpkg-query") is None:
        print("skipped: this is no Debian system with the package googletest")
        sys.exit(SKIPPED)
    unittest.main(argv=sys.argv[:1])
