#!/usr/bin/env python3
"""Tests the script that prints the registers of kernels, with a log as ptxas 13 writes it, and the table that
it has printed for bench/results: every kernel is in it, and none spills."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCRIPT = ROOT / "kernels/cuda/module/registers"
TABLE = ROOT / "bench/results/cuda_registers.md"
KERNELS = ROOT / "kernels/cuda/kernel_table.h"
GEMM = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'prefixd_kGemmBF16' for 'sm_90a'
ptxas info    : Function properties for prefixd_kGemmBF16
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers
"""
DRAW = """ptxas info    : Compiling entry function 'prefixd_kDraw' for 'sm_80'
ptxas info    : Function properties for prefixd_kDraw
    40 bytes stack frame, 24 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 40 bytes cumulative stack size, 512 bytes smem
"""


def cells_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


class Registers(unittest.TestCase):
    def run_on(self, text, *arguments):
        with tempfile.NamedTemporaryFile("w", suffix=".ptxas") as log:
            log.write(text)
            log.flush()
            return subprocess.run([sys.executable, SCRIPT, *arguments, log.name], capture_output=True,
                                  text=True)

    def test_every_kernel_is_a_row(self):
        done = self.run_on(GEMM + DRAW)
        rows = cells_of(done.stdout)
        self.assertEqual(rows[0],
                         ["kernel", "target", "registers", "shared", "stack", "spill stores", "spill loads"])
        self.assertEqual(rows[2:], [["kDraw", "sm_80", "40", "512", "40", "24", "16"],
                                    ["kGemmBF16", "sm_90a", "96", "0", "0", "0", "0"]])

    def test_a_spill_is_an_error(self):
        self.assertEqual(self.run_on(GEMM).returncode, 0)
        done = self.run_on(GEMM + DRAW)
        self.assertEqual(done.returncode, 1)
        self.assertIn("kDraw spills on sm_80", done.stderr)

    def test_a_log_without_kernels_is_an_error(self):
        self.assertEqual(self.run_on("").returncode, 2)

    def test_the_table_has_all_kernels_without_a_spill(self):
        kernels = set(re.findall(r"X\((k\w+), \w+, ", re.sub(r" +", " ", KERNELS.read_text())))
        rows = cells_of(TABLE.read_text())[2:]
        self.assertGreater(len(kernels), 0)
        of_one_target = {kernel for kernel in kernels if "Warpgroup" in kernel}
        self.assertEqual({(row[0], row[1]) for row in rows},
                         {(kernel, target) for kernel in kernels for target in ("sm_80", "sm_90a")
                          if target == "sm_90a" or kernel not in of_one_target})
        self.assertEqual([row for row in rows if row[5] != "0" or row[6] != "0"], [])


if __name__ == "__main__":
    unittest.main()
