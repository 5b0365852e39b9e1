#!/usr/bin/env python3
"""Checks bench/peers without a network and without a peer: arguments, rounds, medians, ratios, tables."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "bench/peers"
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True

import measure
import peers
import report

loader = importlib.machinery.SourceFileLoader("run", str(FOLDER / "run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", loader))
loader.exec_module(run)


def runs_of(figures):
    return {label: {name: (values, "s" if "wall" in name or "ttft" in name else "tokens/s")
                    for name, values in some.items()} for label, some in figures.items()}


class Start(unittest.TestCase):
    def started(self, fallback, answers):
        """Starts a contestant whose server answers as `answers` says, with and without the fallback. Returns
        it and the words that each server got."""
        words = []

        class Server:
            def __init__(self, _peer, _folder, _model, _weights, _log, more=()):
                words.append(more)

            def end(self):
                pass

        class Contestant(measure.Contestant):
            def serve_bench(self, *_):
                if not answers[bool(words[-1])]:
                    raise peers.Failed("no answer\nmore of it")

        peer = types.SimpleNamespace(fallback=fallback)
        with mock.patch.object(measure, "Server", Server), \
             mock.patch.dict(measure.PEERS, {"odd": (peer, ("q8_0",))}):
            one = Contestant("odd", "q8_0", None, None, types.SimpleNamespace(logs="logs"))
            try:
                one.start()
            except peers.Failed:
                answers[True] = True
            one.end()
            one.start()  # of the next round
            return one, words

    def test_a_server_that_answers_gets_no_further_words(self):
        one, words = self.started(("-x",), {False: True, True: True})
        self.assertEqual((words, one.remark), ([(), ()], None))

    def test_a_server_that_does_not_answer_gets_its_fallback(self):
        one, words = self.started(("-x",), {False: False, True: True})
        self.assertEqual(words, [(), ("-x",), ("-x",)])
        self.assertEqual(one.remark, "odd q8_0: started with -x, because without: no answer")

    def test_a_fallback_that_fails_once_is_said_later(self):
        one, words = self.started(("-x",), {False: False, True: False})
        self.assertEqual(words, [(), ("-x",), ("-x",)])
        self.assertEqual(one.remark, "odd q8_0: started with -x, because without: no answer")

    def test_a_server_without_a_fallback_fails(self):
        with self.assertRaises(peers.Failed):
            self.started((), {False: False, True: True})


class Arguments(unittest.TestCase):
    def refused(self, *words):
        text = io.StringIO()
        with contextlib.redirect_stderr(text), self.assertRaises(SystemExit) as ended:
            run.read_arguments(list(words))
        self.assertEqual(ended.exception.code, 2)
        return text.getvalue()

    def test_takes_all_peers_but_those_skipped(self):
        self.assertEqual(run.read_arguments([]).peers, list(peers.PEERS))
        self.assertEqual(run.read_arguments(["--skip", "vllm,prefixd"]).peers,
                         [name for name in peers.PEERS if name not in ("vllm", "prefixd")])
        self.assertEqual(run.read_arguments(["--only", "llama.cpp,prefixd"]).peers, ["prefixd", "llama.cpp"])

    def test_refuses_unknown_names_with_those_there_are(self):
        self.assertIn("no peer nobody; there are prefixd, llama.cpp", self.refused("--only", "nobody"))
        self.assertIn("no peer nobody", self.refused("--skip", "vllm,nobody"))
        self.assertIn("no row warm; there are", self.refused("--rows", "warm"))
        self.assertIn("no format q2; there are", self.refused("--formats", "q2"))
        self.assertIn("not allowed with", self.refused("--only", "vllm", "--skip", "vllm"))
        self.assertIn("must be above 0", self.refused("--rounds", "0"))

    def test_names_a_peer_that_is_not_installed(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, FOLDER / "run", "--only", "llama.cpp", "--no-install",
                                   "--cache", folder], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("llama.cpp has no llama-cpp-python==", done.stderr)
            self.assertIn("--skip llama.cpp", done.stderr)

    def test_takes_what_was_installed_before(self):
        with tempfile.TemporaryDirectory() as folder:
            cache = pathlib.Path(folder)
            (cache / "llama.cpp").mkdir()
            marker = cache / "llama.cpp/complete"
            marker.write_text(peers.PEERS["llama.cpp"][0].package, encoding="utf-8")
            self.assertEqual(peers.install("llama.cpp", cache, False), cache / "llama.cpp")
            marker.write_text("llama-cpp-python==0.0.1", encoding="utf-8")
            with self.assertRaises(peers.Failed):
                peers.install("llama.cpp", cache, False)


class Rounds(unittest.TestCase):
    def contestant(self, label, calls, failing=()):
        one = types.SimpleNamespace(label=label, server=None)

        def measured(row, number):
            calls.append((number, label, row))
            if row in failing:
                raise peers.Failed("not done within 1 s")
            one.server = "running"
            return {row: (10 * number + len(calls), "s"), f"{row} cached": (None, "share")}

        def end():
            one.server = None

        one.measure, one.end = measured, end
        return one

    def test_turns_the_order_from_round_to_round(self):
        calls = []
        three = [self.contestant(label, calls) for label in ("a x", "b x", "c x")]
        saved = []
        runs, failures = measure.measure_rounds(three, ["cold", "turns"], 3, lambda text: None,
                                                lambda runs, failures: saved.append(len(runs["a x"])))
        self.assertEqual(saved, [2] * 9)  # after every server, "a x" being the first
        self.assertEqual([(number, label) for number, label, row in calls if row == "cold"],
                         [(0, "a x"), (0, "b x"), (0, "c x"), (1, "b x"), (1, "c x"), (1, "a x"),
                          (2, "c x"), (2, "a x"), (2, "b x")])
        self.assertEqual([row for _, _, row in calls[:2]], ["cold", "turns"])
        self.assertEqual(runs["a x"]["cold"], ([1, 21, 35], "s"))
        self.assertNotIn("cold cached", runs["a x"])  # it was never known
        self.assertEqual(failures, [])
        self.assertTrue(all(one.server is None for one in three))

    def test_goes_on_after_a_row_that_fails(self):
        calls = []
        two = [self.contestant("a x", calls, failing=["turns"]), self.contestant("b x", calls)]
        runs, failures = measure.measure_rounds(two, ["cold", "turns", "decode"], 1, lambda text: None)
        self.assertEqual(failures, ["a x: turns: not done within 1 s"])
        self.assertEqual(list(runs["a x"]), ["cold", "decode"])
        self.assertEqual(list(runs["b x"]), ["cold", "turns", "decode"])

    def test_gives_up_a_server_that_does_not_start(self):
        calls = []
        two = [self.contestant("a x", calls, failing=["cold"]), self.contestant("b x", calls)]
        runs, failures = measure.measure_rounds(two, ["cold", "turns"], 1, lambda text: None)
        self.assertEqual(calls, [(0, "a x", "cold"), (0, "b x", "cold"), (0, "b x", "turns")])
        self.assertEqual((runs["a x"], len(failures)), ({}, 1))

    def test_ends_the_server_when_it_is_told_to_end(self):
        one = self.contestant("a x", [])

        def interrupted(row, number):
            one.server = "running"
            raise KeyboardInterrupt

        one.measure = interrupted
        with self.assertRaises(KeyboardInterrupt):
            measure.measure_rounds([one], ["cold"], 1, lambda text: None)
        self.assertIsNone(one.server)

    def test_stops_a_program_that_takes_too_long_and_reports_one_that_fails(self):
        with self.assertRaisesRegex(peers.Failed, "not done within"):
            measure.run_program([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
        with self.assertRaisesRegex(peers.Failed, "exit code 3: no such"):
            measure.run_program([sys.executable, "-c", "import sys; print('no such'); sys.exit(3)"], 60)
        with self.assertRaisesRegex(peers.Failed, r"^[^/]+: ended by SIGILL"):
            measure.run_program([sys.executable, "-c", "import os; os.kill(os.getpid(), 4)"], 60)


class Figures(unittest.TestCase):
    REPORT = {"results": [
        {"name": "cold: wall", "value": 6.0, "requests_ok": 3},
        {"name": "cold: ttft_p50", "value": 2.0, "ttft_p95": 3.0},
        {"name": "cold: output", "value": 0, "output_tokens": 129},
        {"name": "cold: prompt", "value": 0, "prompt_tokens": 1536},
        {"name": "cold: cached_share", "value": None}]}

    def test_reads_the_report_of_serve_bench(self):
        self.assertEqual(measure.figures_of("prefill512", self.REPORT), {"prefill512": (256.0, "tokens/s")})
        self.assertEqual(measure.figures_of("decode", self.REPORT), {"decode": (32.0, "tokens/s")})
        self.assertEqual(measure.figures_of("cold_used", self.REPORT),
                         {"cold_used wall": (6.0, "s"), "cold_used ttft_p50": (2.0, "s"),
                          "cold_used ttft_p95": (3.0, "s"), "cold_used cached": (None, "share")})

    RUNS = runs_of({
        "prefixd q8_0": {"decode": [90, 100, 120], "shared wall": [4, 5, 9], "shared_busy wall": [8, 10, 30]},
        "llama.cpp bf16": {"decode": [110, 125, 130], "shared wall": [21, 20, 19]},
        "vllm q8_0": {"decode": [49, 50, 51], "shared wall": [30, 29, 50]}})

    def test_divides_medians_so_that_above_one_is_better(self):
        found = {(row["name"], row["against"]): (round(row["value"], 6), row["best"])
                 for row in report.ratios(self.RUNS)}
        self.assertEqual(found, {
            ("prefixd q8_0: decode", "any"): (0.8, "llama.cpp bf16"),
            ("prefixd q8_0: decode", "q8_0"): (2.0, "vllm q8_0"),
            ("prefixd q8_0: shared wall", "any"): (4.0, "llama.cpp bf16"),
            ("prefixd q8_0: shared wall", "q8_0"): (6.0, "vllm q8_0"),
            ("prefixd q8_0: shared_busy over shared", "itself"): (2.0, "prefixd q8_0")})

    def test_prints_tables_and_leaves_unknown_figures_empty(self):
        text = report.tables(self.RUNS)
        self.assertIn("| prefixd q8_0 | 100 |", text)
        self.assertIn("| llama.cpp bf16 | 20; ;  |  |", text)
        self.assertIn("| prefixd q8_0: decode | 0.80 | any | llama.cpp bf16 |", text)

    def test_keeps_medians_and_extremes(self):
        rows = {row["name"]: row for row in json.loads(json.dumps(report.results(self.RUNS)))}
        self.assertEqual(rows["prefixd q8_0: shared wall"],
                         {"name": "prefixd q8_0: shared wall", "value": 5, "unit": "s", "lowest": 4,
                          "highest": 9, "runs": 3})


if __name__ == "__main__":
    unittest.main()
