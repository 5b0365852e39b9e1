#!/usr/bin/env python3
"""tests/kernels/cuda/planted.py [--smoke] [--build FOLDER] [--jobs N] [NAME...]: checks that the tests of the
CUDA kernels find bugs in indexing.

For each row of BUGS it plants one bug in a copy of a file, compiles the objects that depend on it as the
release build does, links the test that should find it, and runs that on the emulation. A bug that the test
does not find fails, and so does a test that fails without a bug. NAME selects the rows whose name begins so.
All rows take some ten minutes, so they are run by hand, after a change to a kernel or to its test. `--smoke`
runs few, with what is built, and is part of ctest.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
SECONDS = 300  # for one run of a test
STAGED, UNIT, PLAIN = ("kernels/cuda/attention_staged.h", "kernels/cuda/attention_unit.h",
                       "kernels/cuda/attention_kernels.h")
PLAN, QKV, ROW, GEMM = ("kernels/cuda/attention_plan.cc", "kernels/cuda/qkv_kernels.h",
                        "kernels/cuda/row_kernels.h", "kernels/cuda/gemm_kernels.h")
DRAW = "kernels/cuda/draw_kernels.h"
ATTENTION, ROWS, DRAWS = "cuda_attention_test", "cuda_row_test", "cuda_draw_test"

# Name, test that should find it, file, text that occurs once in it, replacement.
BUGS = [
    ("staged_key_matrices", ATTENTION, STAGED, "matrix / 2 * 8 + line, k * 16 + matrix % 2 * 8",
     "matrix % 2 * 8 + line, k * 16 + matrix / 2 * 8"),
    ("staged_value_matrices", ATTENTION, STAGED, "matrix % 2 * 8 + line, n * 8 + matrix / 2 * 8",
     "matrix / 2 * 8 + line, n * 8 + matrix % 2 * 8"),
    ("staged_token_of_chunk", ATTENTION, STAGED, "chunk / 8 % 8", "chunk / 8"),
    ("staged_last_group", ATTENTION, STAGED, "token <= view_.last_token", "token < view_.last_token"),
    ("staged_first_group", ATTENTION, STAGED, "token + 7 >= view_.first_token",
     "token >= view_.first_token"),
    ("staged_place_in_block", ATTENTION, STAGED, "PlaneOffset(in_block, 0", "PlaneOffset(token, 0"),
    ("staged_values_are_keys", ATTENTION, STAGED, ") + kTileBytes);", "));"),
    ("staged_wait", ATTENTION, STAGED, "device::WaitCopies<1>()", "device::WaitCopies<2>()"),
    ("staged_spans", ATTENTION, STAGED, "tile == begin || tile % kSpanTokens == 0", "tile == begin"),
    ("staged_end_of_span", ATTENTION, STAGED, "next >= end || next % kSpanTokens == 0", "next >= end"),
    ("staged_store", ATTENTION, STAGED, "TotalAt(n, 2 * half + i)", "TotalAt(n, half + 2 * i)"),
    ("staged_query", ATTENTION, STAGED, "k * device::kWarp + device::Lane()) * 16",
     "k * device::kWarp + device::Lane() / 2) * 16"),
    ("unit_kv_head", ATTENTION, UNIT, "view.unit.head / (p.heads / p.kv.kv_heads)",
     "view.unit.head % p.kv.kv_heads"),
    ("unit_first_token", ATTENTION, UNIT, "last.position - view.unit.rows + 1", "last.position"),
    ("unit_row", ATTENTION, UNIT, "view.unit.first_row + i / view.unit.heads",
     "view.unit.first_row + i % view.unit.rows"),
    ("unit_query_column", ATTENTION, UNIT, "at = d + i / 2 * 8", "at = d + i % 2 * 8"),
    ("unit_window", ATTENTION, UNIT, "position - window + 1", "position - window"),
    ("unit_token_of_score", ATTENTION, UNIT, "tile + n * 8 + device::Lane() % 4 * 2 + i",
     "tile + n * 8 + device::Lane() % 4 + 2 * i"),
    ("unit_differs_after", ATTENTION, UNIT, "end - 1 > first_position ||", ""),
    ("unit_differs_before", ATTENTION, UNIT, " || begin < WindowStart(last_token, window)", ""),
    ("unit_row_sees", ATTENTION, UNIT, "view.RowSees(row, at + 1)", "view.RowSees(row, at)"),
    ("unit_row_of_output", ATTENTION, UNIT, "i / 2 * 8) / view.unit.heads == row",
     "i / 2 * 8) % view.unit.rows == row"),
    ("plain_keys", ATTENTION, PLAIN, "token, d + pair + 8)", "token, d + pair)"),
    ("plain_values", ATTENTION, PLAIN, "PairOfValues<H>(p, view, token + 8, d)",
     "PairOfValues<H>(p, view, token + 2, d)"),
    ("plain_tile_of_o", ATTENTION, PLAIN, "n * 8 + device::Lane() % 4 * 2 + i % 2;\n}",
     "n * 8 + device::Lane() % 4 + i % 2;\n}"),
    ("f32_place_in_block", ATTENTION, PLAIN, "PlaneOffset(token % p.kv.block_tokens, 0",
     "PlaneOffset(token % 16, 0"),
    ("f32_query_head", ATTENTION, PLAIN, "view.unit.head + i % view.unit.heads;\n    const float* const q",
     "view.unit.head + i / view.unit.heads;\n    const float* const q"),
    ("f32_sum", ATTENTION, PLAIN, "t % 8 / 2 == device::Lane()", "t % 4 == device::Lane()"),
    ("fold_stride", ATTENTION, PLAIN, "place.first + i * place.stride", "place.first + i"),
    ("fold_head", ATTENTION, PLAIN, "index >= p.rows * p.heads", "index >= p.rows"),
    ("plan_stride", ATTENTION, PLAN, "{plan_.partials + i, pieces, query_rows}",
     "{plan_.partials + i, pieces, query_rows - 1}"),
    ("plan_head", "cuda_attention_plan_test", PLAN, "kv_head * group + head", "kv_head * group"),
    ("plan_last_span", "cuda_attention_plan_test", PLAN, "(position + rows - 1) / kSpanTokens + 1",
     "(position + rows - 1) / kSpanTokens"),
    ("plan_bound", "cuda_attention_plan_test", PLAN, "std::min(static_cast<size_t>(kMostSpanPartials),",
     "std::min(size_t{64},"),
    ("kv_64_bits", ATTENTION, QKV, "static_cast<uint64_t>(static_cast<uint32_t>(block)) * kv.block_bytes",
     "static_cast<uint32_t>(static_cast<uint32_t>(block) * kv.block_bytes)"),
    ("kv_layer", ATTENTION, QKV, "kv.layer * 2 + (values ? 1 : 0)", "kv.layer + (values ? 1 : 0)"),
    ("kv_table", ATTENTION, QKV, "At(place.sequence, tables.stride) + index", "index"),
    ("qkv_value_head", ROWS, QKV, "head - p.heads - kv_heads : head", "head - p.heads : head"),
    ("qkv_half", ROWS, QKV, "target.Store(i + half,", "target.Store(i + half - 1,"),
    ("qkv_place_in_block", ROWS, QKV, "place.position % p.kv.block_tokens", "0"),
    ("dummy_index", ROWS, ROW, "first + static_cast<size_t>(i)", "static_cast<size_t>(i)"),
    ("dummy_row", ROWS, ROW, "static_cast<T*>(p.out) + first", "static_cast<T*>(p.out) + 2 * first"),
    ("embed_row", ROWS, ROW, "At(token, p.dim)", "At(row, p.dim)"),
    ("norm_weight", ROWS, ROW, "LoadF32(p.weight + i)", "LoadF32(p.weight + i / 2)"),
    ("gather_index", ROWS, ROW, "device::LoadGlobal<int32_t>(p.indices + row)", "row"),
    ("activation_up", ROWS, ROW, "x + p.width + i", "x + p.width + i / 2 * 2"),
    ("gemm_x_matrices", ROWS, GEMM, "matrix % 2 * 8 + line;\n  device::LoadMatrix4(a",
     "matrix / 2 * 8 + line;\n  device::LoadMatrix4(a"),
    ("gemm_tail", ROWS, GEMM, "there && at + e < k", "there"),
    ("gemm_column", ROWS, GEMM, "w.first + n * 8", "n * 8"),
    ("gemm_stage", ROWS, GEMM, "stage % kGemmStages * kStageBytes;\n    x.Copy", "0;\n    x.Copy"),
    ("gemm_f32_row", ROWS, GEMM, "device::BlockY() * kGemmTile + i / kGemmTile", "i / kGemmTile"),
    ("draw_ids", DRAWS, DRAW, "id += kDrawThreads) fn(id)", "id += kDrawThreads + 1) fn(id)"),
    ("draw_bias", DRAWS, DRAW, "p.bias + spec.first_bias + i", "p.bias + i"),
    ("draw_count", DRAWS, DRAW, "p.counts + spec.first_count + i", "p.counts + i"),
    ("draw_banned", DRAWS, DRAW, "ban && i < spec.banned", "ban && i + 1 < spec.banned"),
    ("draw_first_allowed", DRAWS, DRAW, "if (first == 0 && LoadF32", "if (LoadF32"),
    ("draw_digit", DRAWS, DRAW, "(digit % 3 + 1) * kDigits", "digit % 3 * kDigits"),
    ("draw_bucket", DRAWS, DRAW, "      wanted -= sum;\n", ""),
    ("draw_cut", DRAWS, DRAW, "RankOf(logit, id) < cut", "RankOf(logit, id) <= cut"),
    ("draw_uniform", DRAWS, DRAW, "kept.view.spec.position, id)", "kept.view.spec.position, winner)"),
    ("draw_score", DRAWS, DRAW, "NotNan(LoadF32(view.raw + result->token))",
     "NotNan(LoadF32(view.changed + result->token))"),
    ("draw_top", DRAWS, DRAW, "p.top_tokens + spec.first_result + i", "p.top_tokens + i"),
]
# Of each kind of kernel one.
SMOKE = ("staged_key_matrices", "plan_stride", "qkv_half", "gemm_column", "draw_count")


def output_of(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"planted: {' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


class Build:
    """What a build folder knows of its objects and tests."""

    def __init__(self, folder):
        self.folder = folder
        self.compiles = {}  # object to the words of its command
        for entry in json.loads((folder / "compile_commands.json").read_text()):
            words = shlex.split(entry["command"])
            self.compiles[words[words.index("-o") + 1]] = words

    def program(self, test):
        return self.folder / "tests/kernels/cuda" / test

    def link_command(self, test):
        line = output_of("ninja", "-t", "commands", "-s", f"tests/kernels/cuda/{test}", cwd=self.folder)
        parts = [shlex.split(part) for part in line.split(" && ")]
        return next(words for words in parts if f"tests/kernels/cuda/{test}" in words and "-o" in words)

    def objects_from(self, link, path):
        """The objects that a test has and that were made from the file `path` of the tree."""
        made = []
        for output, words in self.compiles.items():
            source = self.folder / words[words.index("-c") + 1]
            if source == ROOT / path:
                made.append(output)
            elif output in link and source.is_relative_to(ROOT / "tests/support"):
                dependencies = output_of("ninja", "-t", "deps", output, cwd=self.folder).split()
                if any((self.folder / name).resolve() == ROOT / path for name in dependencies):
                    made.append(output)
        return made

    def compile(self, output, overlay, to):
        """Compiles an object into the file `to`; files in `overlay` replace those of the tree."""
        words = list(self.compiles[output])
        source = overlay / pathlib.Path(words[words.index("-c") + 1]).relative_to(ROOT)
        if source.exists():
            words[words.index("-c") + 1] = str(source)
        words[words.index("-o") + 1] = str(to)
        words.insert(words.index(f"-I{ROOT}"), f"-I{overlay}")
        output_of(*words, cwd=self.folder)


def run_test(program):
    """Returns the first line that says why a test failed; None when it passes."""
    try:
        done = subprocess.run([program, "--gtest_fail_fast"], capture_output=True, text=True,
                              errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"it takes more than {SECONDS} s"
    if done.returncode == 0:
        return None
    output = done.stdout + done.stderr
    error = re.search(r".*CHECK failed.*|\[  FAILED  \] \S+", output)
    return error.group().strip()[:120] if error else f"exit code {done.returncode}"


def try_bug(build, name, test, path, old, new):
    """Returns whether the test found the bug, and a line about it."""
    started = time.monotonic()
    text = (ROOT / path).read_text()
    if text.count(old) != 1:
        return False, f"{path} has '{old}' {text.count(old)} times, not once; choose another line in BUGS"
    overlay = build.folder / "planted" / name
    shutil.rmtree(overlay, ignore_errors=True)
    (overlay / path).parent.mkdir(parents=True)
    (overlay / path).write_text(text.replace(old, new))
    link = build.link_command(test)
    outputs = build.objects_from(link, path)
    for number, output in enumerate(outputs):
        planted = str(overlay / f"{number}.o")
        build.compile(output, overlay, planted)
        if output in link:
            link[link.index(output)] = planted
        else:  # that of a library: what an object before it has, the linker does not take from it
            link.insert(link.index("-o"), planted)
    program = overlay / test
    link[link.index("-o") + 1] = str(program)
    output_of(*link, cwd=build.folder)
    error = run_test(program) if outputs else None
    shutil.rmtree(overlay)
    seconds = time.monotonic() - started
    return error is not None, f"found in {seconds:.0f} s: {error}" if error else "NOT FOUND"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    bugs = [bug for bug in BUGS if not options.names or bug[0].startswith(tuple(options.names))]
    if options.smoke:
        bugs = [bug for bug in BUGS if bug[0] in SMOKE]
    build = Build(options.build.resolve())
    tests = sorted({bug[1] for bug in bugs})
    if not options.smoke:
        output_of("ninja", *tests, cwd=build.folder)
        for test in tests:
            if error := run_test(build.program(test)):
                sys.exit(f"planted: {test} fails without a bug: {error}")
    found = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [(bug[0], pool.submit(try_bug, build, *bug)) for bug in bugs]
        for name, run in runs:
            success, line = run.result()
            found += success
            print(f"{name:<24} {line}", flush=True)
    print(f"{found} of {len(bugs)} planted bugs were found")
    return 0 if bugs and found == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main())
