#!/usr/bin/env python3
"""Tests bench/gpu/budget: what it reads of kernels, its prediction, and the counts of a step.

    tests/bench/budget_test.py CUDA_KERNEL_BENCH
"""

import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench/gpu/budget"
KERNEL = """ptxas info    : Compiling entry function 'prefixd_{0}' for 'sm_90a'
ptxas info    : Function properties for prefixd_{0}
    0 bytes stack frame, {2} bytes spill stores, 0 bytes spill loads
ptxas info    : Used {1} registers, used 1 barriers
"""
BENCH = None


def budget():
    loader = importlib.machinery.SourceFileLoader("budget", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("budget", loader))
    loader.exec_module(module)
    return module


def row(**changes):
    return dict({"kernel": "Qkv", "blocks": 132, "threads": 128, "shared_bytes": 0, "bytes": 0, "flop": 0},
                **changes)


class BudgetTest(unittest.TestCase):
    def test_resident_blocks(self):
        resident = budget().resident_blocks
        self.assertEqual(resident(32, 0, 255), 8)  # 65536 / (32 * 256)
        self.assertEqual(resident(128, 0, 64), 8)
        self.assertEqual(resident(32, 35904, 64), 6)  # shared memory
        self.assertEqual(resident(128, 0, 16), 16)  # threads
        self.assertEqual(resident(32, 0, 16), 32)  # blocks

    def test_a_product_takes_what_the_probe_measured(self):
        predict = budget().predict
        for n, k, measured in ((4096, 4096, 14.6), (6144, 4096, 18.8), (4096, 14336, 35.3),
                               (28672, 4096, 65.3)):
            got = predict(row(kernel="GemmFewBF16", blocks=n // 16, threads=32, shared_bytes=35904,
                              bytes=2 * n * k, flop=2 * n * k), 64)
            self.assertLess(abs(got["predicted_us"] - measured), 0.6, f"{n} x {k}")

    def test_quantised_products_are_bound_by_the_instructions_of_their_scales(self):
        got = budget().predict(row(kernel="GemmQ8", blocks=1792, threads=128, shared_bytes=73728, bytes=1,
                                   flop=2 * 4096 * 4096 * 4096), 96)
        self.assertEqual(got["bound"], "arithmetic")
        self.assertAlmostEqual(got["predicted_us"], 6.1 + 2 * 4096**3 / 632.5e12 * 1e6, delta=0.1)
        few = budget().predict(row(kernel="GemmFewQ4", blocks=1792, threads=32, shared_bytes=47000,
                                   bytes=28672 * 4096 * 9 // 16, flop=2 * 28672 * 4096), 96)
        self.assertEqual(few["bound"], "bytes")

    def test_attention_takes_its_products_and_the_instructions_of_its_scores(self):
        predict, scores = budget().predict, 32 * 512 * 8192
        of = {kernel: predict(row(kernel=kernel, blocks=256, shared_bytes=81920, bytes=1,
                                  flop=4 * 128 * scores), 255)
              for kernel in ("Attention128BF16", "Attention128WarpgroupBF16", "Attention128KvFp8")}
        softmax = scores * 22 / (132 * 128 * 1.755e9) * 1e6
        products = 4 * 128 * scores / 790e12 * 1e6
        for kernel, expected in (("Attention128BF16", products / 0.63 + softmax),
                                 ("Attention128WarpgroupBF16", products + softmax),
                                 ("Attention128KvFp8", products / 0.63 + softmax * (1 + 8 / 22))):
            self.assertAlmostEqual(of[kernel]["predicted_us"], 6.1 + expected, delta=0.1, msg=kernel)
            self.assertEqual(of[kernel]["bound"], "arithmetic")

    def test_a_kernel_of_few_blocks_waits_for_the_memory(self):
        got = budget().predict(row(blocks=1, bytes=64 * 4096), 64)
        self.assertEqual(got["bound"], "latency")
        self.assertAlmostEqual(got["predicted_us"], 6.1 + 63)
        self.assertEqual(budget().predict(row(bytes=64), 64)["bound"], "launch")

    def run_budget(self, kernels, *options):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "all.ptxas"
            spills = {"kGemmFewQkvBF16": 8}
            log.write_text("".join(KERNEL.format(name, 64, spills.get(name, 0)) for name in kernels))
            return subprocess.run([SCRIPT, "--bench", BENCH, "--logs", log, "--", "--preset", "tiny",
                                   "--context", "64", "--rows", "20", "--sequences", "3", *options],
                                  capture_output=True, text=True)

    def test_the_steps_of_a_model(self):
        kernels = re.findall(r"X\((k\w+), ", (ROOT / "kernels/cuda/kernel_table.h").read_text())
        done = self.run_budget(kernels)
        self.assertEqual(done.returncode, 0, done.stderr)
        cases = {text.splitlines()[0]: text for text in done.stdout.strip().split("\n\n")}
        self.assertEqual(len(cases), 6, done.stdout)
        decode, prefill = cases["decode 1 at 16"], cases["prefill 20 at 0"]
        # A layer: 4 products, two of them with their norm and what follows them, attention, and its fold.
        a_layer = [int(count) for count in re.findall(r"^[A-Z].{42} +(\d+) ", decode, re.M)]
        self.assertEqual(sum(a_layer), 6, decode)
        # Outside of the layers: embedding, 2 gathers, a norm, the head and the draw.
        self.assertIn(f"step of 32 layers: {32 * 6 + 6} launches", decode)
        self.assertIn("GemmFewBF16 64x128", decode)
        self.assertIn("GemmBF16 256x64", prefill)
        self.assertEqual(done.stdout.count(" instead "), 0)  # heads of 16
        self.assertRegex(decode, r"GemmFewQkvBF16 256x64 +32 +1 +\d+ +64 +8 ")

    def test_a_kernel_that_a_step_could_take_instead_is_not_in_its_sum(self):
        kernels = re.findall(r"X\((k\w+), ", (ROOT / "kernels/cuda/kernel_table.h").read_text())
        done = self.run_budget(kernels, "--head-dim", "64")
        self.assertEqual(done.returncode, 0, done.stderr)
        prefill = next(text for text in done.stdout.split("\n\n") if "prefill 20 at 0" in text)
        rows = re.findall(r"^([A-Z].{33}) +(\d+) ", prefill, re.M)
        instead = [int(count) for name, count in rows if " instead" in name]
        self.assertEqual(instead, [0], prefill)
        total = int(re.search(r"(\d+) launches, floor", prefill)[1])
        self.assertEqual(total, sum(int(count) for _, count in rows), prefill)

    def test_a_log_without_a_kernel_of_the_step(self):
        done = self.run_budget(["kQkvBF16"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("the logs have no kernel Embed", done.stderr)


if __name__ == "__main__":
    BENCH = sys.argv.pop(1)
    unittest.main()
