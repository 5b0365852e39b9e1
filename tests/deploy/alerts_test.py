#!/usr/bin/env python3
"""Checks deploy/prometheus with promtool: the files are valid, each alert fires where it should, none fires
on an idle daemon, on healthy traffic, after traffic has ended, or at a restart."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy/prometheus"
RULES = FOLDER / "prefixd.rules.yml"
SKIPPED = 77  # the exit code that ctest counts as skipped
LABELS = 'job="prefixd",instance="a"'
END = 180  # minutes


def series(name, **labels):
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{LABELS}{more}}}"


def histogram(name, slow, rate):
    """A histogram of `rate` requests a minute, all above `slow` seconds or all in the first bucket."""
    fast = 0 if slow else rate
    bounds = {"0.001": fast, "1": fast, "10": fast, "20": rate, "+Inf": rate}
    found = {series(f"vllm:{name}_bucket", le=le): f"0+{each}x{END}" for le, each in bounds.items()}
    return found | {series(f"vllm:{name}_count"): f"0+{rate}x{END}"}


READY, WAITING = series("prefixd_ready"), series("vllm:num_requests_waiting")
RUNNING, UP = series("vllm:num_requests_running"), series("up")
COMPUTED = series("prefixd_prompt_tokens_total", source="computed")
DEVICE = series("prefixd_prompt_tokens_total", source="device")
EVICTED = series("prefixd_cache_miss_tokens_total", reason="evicted_device")
CHECKSUM = series("prefixd_verify_failures_total", kind="checksum")
FINGERPRINT = series("prefixd_verify_failures_total", kind="fingerprint")
WRITE_ERRORS = series("prefixd_tier_errors_total", tier="disk", kind="write")
PENDING = series("prefixd_spill_pending_bytes")
LEASED = series("prefixd_blocks", tier="device", state="leased")

# Every series of the rules, at rest.
IDLE = {name: f"0x{END}" for name in (WAITING, RUNNING, COMPUTED, DEVICE, EVICTED, CHECKSUM, FINGERPRINT,
                                       WRITE_ERRORS, PENDING, LEASED)}
IDLE |= {READY: f"1x{END}", UP: f"1x{END}"}
IDLE |= histogram("time_to_first_token_seconds", False, 0) | histogram("request_queue_time_seconds", False, 0)
BUSY = IDLE | {COMPUTED: f"0+100x{END}", DEVICE: f"0+900x{END}", RUNNING: f"4x{END}", LEASED: f"40x{END}",
               EVICTED: f"0+50x{END}", FINGERPRINT: f"0x60 8x{END}", PENDING: f"0 4096 0 8192x1 0x{END}"}
BUSY |= histogram("time_to_first_token_seconds", False, 30)
BUSY |= histogram("request_queue_time_seconds", False, 30)

# What differs from BUSY, and which alert fires at the end.
FAULTS = {
    "PrefixdDown": {UP: f"1x60 0x{END}"},
    "PrefixdNotReady": {READY: f"1x60 0x{END}"},
    "PrefixdFirstTokenSlow": histogram("time_to_first_token_seconds", True, 30),
    "PrefixdQueueing": histogram("request_queue_time_seconds", True, 30) | {WAITING: f"2x{END}"},
    "PrefixdVerifyFailures": {CHECKSUM: f"0x150 1x{END}"},
    "PrefixdThrashing": {EVICTED: f"0+300x{END}", COMPUTED: f"0+400x{END}"},
    "PrefixdTierErrors": {WRITE_ERRORS: f"0x150 0+1x{END}"},
    "PrefixdSpillStuck": {PENDING: f"1+4096x{END}"},
    "PrefixdLeasesLeaked": {RUNNING: f"4x60 0x{END}"},
}
# What differs from BUSY and must not fire.
HEALTHY = {
    "idle": IDLE,
    "busy": {},
    "the end of traffic": {COMPUTED: f"0+100x60 6000x{END}", DEVICE: f"0+900x60 54000x{END}",
                           EVICTED: f"0+100x60 6000x{END}", RUNNING: f"4x60 0x{END}",
                           LEASED: f"40x60 0x{END}"},
    "a restart": {UP: f"1x100 0 1x{END}", READY: f"1x100 _ 0 0 1x{END}",
                  COMPUTED: f"0+100x100 _ 0+100x{END}", DEVICE: f"0+900x100 _ 0+900x{END}",
                  CHECKSUM: f"0x100 _ 0x{END}", RUNNING: f"4x100 _ 0x{END}", LEASED: f"40x100 _ 0x{END}"},
    "one slow request at night": IDLE | {series("vllm:time_to_first_token_seconds_bucket", le="20"):
                                         f"0x100 1x{END}",
                                         series("vllm:time_to_first_token_seconds_bucket", le="+Inf"):
                                         f"0x100 1x{END}",
                                         series("vllm:time_to_first_token_seconds_count"): f"0x100 1x{END}"},
}


def case(inputs, firing, *minutes):
    """A test of promtool: exactly the alerts `firing` fire at each of the minutes."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in inputs.items()],
        "promql_expr_test": [{
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing],
        } for minute in minutes or (END,)],
    }


class Alerts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def promtool(self, *arguments):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def run_cases(self, cases):
        tests = self.path / "tests.yml"
        tests.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m",
                                     "tests": cases}))
        return self.promtool("test", "rules", str(tests))

    def check(self, text):
        rules = self.path / "rules.yml"
        rules.write_text(text)
        return self.promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))

    def test_the_files_are_valid(self):
        code, output = self.check(RULES.read_text())
        self.assertEqual(code, 0, output)
        code, output = self.promtool("check", "config", str(FOLDER / "prometheus.yml"))
        self.assertEqual(code, 0, output)

    def test_a_planted_fault_is_found(self):
        text = RULES.read_text()
        for right, wrong in (("$labels.instance", "$lables.instance"), ("rate(", "rat("),
                             ("PrefixdNotReady\n        expr: prefixd_ready == 0",
                              'PrefixdDown\n        expr: up{job="prefixd"} == 0'), ("for: 10m", "for: ten")):
            self.assertIn(right, text)
            self.assertNotEqual(self.check(text.replace(right, wrong, 1))[0], 0, wrong)

    def test_each_alert_fires(self):
        for name, fault in FAULTS.items():
            with self.subTest(name):
                code, output = self.run_cases([case(BUSY | fault, [name])])
                self.assertEqual(code, 0, output)

    def test_the_hit_rate_dropped(self):
        day = 1440
        share = {COMPUTED: f"0+500x{2 * day} {1000 * day}+950x300",
                 DEVICE: f"0+500x{2 * day} {1000 * day}+50x300"}
        self.run_and_expect(case(share, ["PrefixdHitRateDropped"], 2 * day + 120))
        self.run_and_expect(case(share, [], 2 * day - 1))
        low = {COMPUTED: f"0+900x{2 * day} 0+990x300", DEVICE: f"0+100x{2 * day} 0+10x300"}
        self.run_and_expect(case(low, [], 2 * day + 120))

    def run_and_expect(self, test):
        code, output = self.run_cases([test])
        self.assertEqual(code, 0, output)

    def test_nothing_fires_without_a_fault(self):
        for name, change in HEALTHY.items():
            with self.subTest(name):
                code, output = self.run_cases([case(BUSY | change, [], 90, 102, 104, 120, END)])
                self.assertEqual(code, 0, output)

    def test_a_missing_alert_is_a_failure(self):
        self.assertNotEqual(self.run_cases([case(BUSY, ["PrefixdDown"])])[0], 0)
        self.assertNotEqual(self.run_cases([case(BUSY | FAULTS["PrefixdDown"], [])])[0], 0)

    def test_each_alert_is_tested_and_explained(self):
        text = RULES.read_text()
        alerts = re.findall(r"- alert: (\w+)", text)
        self.assertEqual(set(alerts), set(FAULTS) | {"PrefixdHitRateDropped"})
        page = (ROOT / "docs/OPERATIONS.md").read_text()
        anchors = re.findall(r"runbook_url: docs/OPERATIONS\.md#(\w+)", text)
        self.assertEqual(anchors, [name.lower() for name in alerts])
        self.assertEqual([name for name in alerts if f"\n#### {name}\n" not in page], [])

    def test_each_metric_exists(self):
        source = "".join((ROOT / "daemon" / name).read_text() for name in ("metric_rows.cc", "metrics.cc"))
        known = set(re.findall(r'"((?:prefixd_|vllm:)\w+)"', source))
        used = set(re.findall(r"\b(?<!:)((?:prefixd_|vllm:)\w+)", RULES.read_text()))
        bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
        self.assertGreater(len(bare), 8)
        self.assertEqual(sorted(bare - known), [])


if __name__ == "__main__":
    if shutil.which("promtool") is None:
        print("skipped: promtool is not installed (Debian package prometheus)")
        sys.exit(SKIPPED)
    unittest.main()
