#!/usr/bin/env python3
"""Checks the dashboards in deploy/grafana: they are what make_dashboards.py writes, and dashboards_lint.py
finds no fault in them, but each fault that is planted in one."""

import copy
import json
import pathlib
import shutil
import sys
import unittest

import dashboards_lint as lint

FOLDER = lint.ROOT / "deploy/grafana"
SKIPPED = 77  # the exit code that ctest counts as skipped
NAMES = ("prefixd-overview", "prefixd-cache", "prefixd-tiers", "prefixd-requests")
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True
import make_dashboards  # noqa: E402  (its folder is not a package)


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def replaced(text, right, wrong):
    assert right in text, (right, text)
    return text.replace(right, wrong, 1)


def change(path, value):
    """A fault: sets what the path of keys leads to, or applies `value` to it."""
    def plant(dashboard):
        place = dashboard
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return plant


def first_with(dashboard, words):
    """The first target whose expression has the words."""
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    return next(target for target in targets if words in target["expr"])


def in_expression(right, wrong):
    """A fault in the first expression that has the words."""
    def plant(dashboard):
        target = first_with(dashboard, right)
        target["expr"] = replaced(target["expr"], right, wrong)
    return plant


def in_description(right, wrong):
    return change(("panels", 0, "description"), lambda text: replaced(text, right, wrong))


def remove(*path):
    def plant(dashboard):
        place = dashboard
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
    return plant


QUERY = ("templating", "list", 2, "query", "query")
# What is planted into the page Overview, and words of the fault that must be found.
PLANTED = {
    "editable": (change(("editable",), True), "editable is True"),
    "identity": (change(("uid",), "other"), "uid is 'other'"),
    "schema": (change(("schemaVersion",), "39"), "schemaVersion is '39'"),
    "no tag": (change(("tags",), []), "tags is []"),
    "no links": (change(("links",), []), "no link by the tag"),
    "links lose variables": (change(("links", 0, "includeVars"), False), "no link by the tag"),
    "no title": (change(("title",), ""), "no title"),
    "a variable is missing": (remove("templating", "list", 3), "the variables are"),
    "no data source": (change(("templating", "list", 0, "query"), "loki"), "does not choose a Prometheus"),
    "variable of another label": (change(QUERY, "label_values(prefixd_ready, tier)"), "of its own label"),
    "variable of no metric": (change(QUERY, "label_values(prefixd_rdy, model_name)"), "which does not exist"),
    "one job alone": (change(("templating", "list", 1, "multi"), False), "must be of the data source"),
    "unit": (remove("panels", 4, "fieldConfig", "defaults", "unit"), "the unit None"),
    "unknown unit": (change(("panels", 4, "fieldConfig", "defaults", "unit"), "tokens"), "the unit 'tokens'"),
    "description": (remove("panels", 0, "description"), "must have metrics, meaning and what to do"),
    "no action": (in_description("What to do: ", "By the way: "), "must have metrics, meaning"),
    "action of a word": (change(("panels", 0, "description"),
                                "Metrics: `prefixd_ready`\n\nIt is ready.\n\nWhat to do: No."),
                         "is no sentence"),
    "another metric described": (in_description("prefixd_ready", "prefixd_blocks"), "the description names"),
    "fixed data source": (change(("panels", 0, "datasource"), {"type": "prometheus", "uid": "abc"}),
                          "the data source is not the variable"),
    "data source of a target": (change(("panels", 0, "targets", 0, "datasource"), None),
                                "the data source is not the variable"),
    "kind": (change(("panels", 0, "type"), "graph"), "the kind graph"),
    "legend": (change(("panels", 0, "targets", 0, "legendFormat"), ""), "no legend"),
    "twice": (change(("panels", 1, "title"), "Ready"), "two panels have the title 'Ready'"),
    "covered": (change(("panels", 1, "gridPos", "x"), 0), "it covers panel 1"),
    "too wide": (change(("panels", -1, "gridPos", "w"), 25), "does not fit the 24 columns"),
    "no job": (in_expression('job=~"$job", ', ""), "lacks the matcher of job"),
    "job is equal": (in_expression('job=~"$job"', 'job="$job"'), "lacks the matcher of job"),
    "no instance": (in_expression(', instance=~"$instance"', ""), "lacks the matcher of instance"),
    "no matchers": (in_expression('prefixd_ready{job=~"$job", instance=~"$instance"}', "prefixd_ready"),
                    "prefixd_ready lacks the matcher of job"),
    "no model": (in_expression(', model_name=~"$model_name"', ""), "lacks the matcher of model_name"),
    "window": (in_expression("[$__rate_interval]", "[5m]"), "the window [5m]"),
    "interval": (in_expression("[$__rate_interval]", "[$__interval]"), "the window [$__interval]"),
    "span in a graph": (in_expression("[$__rate_interval]", "[$__range]"), "the window [$__range]"),
    "metric": (in_expression("prefixd_ready{", "prefixd_redy{"), "the metric prefixd_redy does not exist"),
    "foreign metric": (in_expression("prefixd_ready{", "http_requests{"), "http_requests does not exist"),
}
# Faults of syntax, which promtool finds.
NOT_PROMQL = {
    "bracket": ("min(", "min(("),
    "function": ("min(", "minimum("),
    "rate of a sum": ("sum by (source) (rate(", "rate(sum(("),
    "no window": ("[$__rate_interval]", ""),
    "label": ("sum by (source)", "sum by (so-urce)"),
}


class Dashboards(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.metrics = lint.known_metrics()
        self.pages = {name: load(name) for name in NAMES}

    def test_the_files_are_written_from_the_table(self):
        files = make_dashboards.files()
        self.assertEqual(set(files), {f"{name}.json" for name in NAMES})
        self.assertEqual({path.name for path in FOLDER.glob("*.json")}, set(files))
        for name, text in files.items():
            self.assertEqual((FOLDER / name).read_text(), text,
                             "run deploy/grafana/make_dashboards.py")

    def test_no_dashboard_has_a_fault(self):
        for name, page in self.pages.items():
            self.assertGreater(len(lint.expressions(page)), 12)
            self.assertEqual(lint.faults_of(page, name, self.metrics), [])

    def test_each_planted_fault_is_found(self):
        for name, (plant, words) in PLANTED.items():
            with self.subTest(name):
                page = copy.deepcopy(self.pages[NAMES[0]])
                plant(page)
                found = lint.faults_of(page, NAMES[0], self.metrics)
                self.assertTrue(any(words in fault for fault in found), found)

    def test_every_expression_is_promql(self):
        if shutil.which("promtool") is None:
            self.skipTest("promtool is not installed (Debian package prometheus)")
        found = [each for page in self.pages.values() for each in lint.expressions(page)]
        self.assertEqual(lint.promql_faults(found), [])
        for name, (right, wrong) in NOT_PROMQL.items():
            with self.subTest(name):
                target = first_with(self.pages[NAMES[0]], right)
                broken = replaced(target["expr"], right, wrong)
                faults = lint.promql_faults([("right", target["expr"]), ("here", broken)])
                self.assertEqual(len(faults), 1, faults)
                self.assertIn(f"here: {broken}", faults[0])

    def test_selectors_are_told_from_the_rest(self):
        expression = ('1 - sum by (job, le) (rate(vllm:x_bucket{tier="a{b}", le!~"up|down"}[$__range])) / '
                      "ignoring(reason) group_left () (prefixd_y > bool 0.5e3) and on (job) up offset 5m")
        self.assertEqual(lint.selectors(expression),
                         [("vllm:x_bucket", 'tier="a{b}", le!~"up|down"'), ("prefixd_y", ""), ("up", "")])

    def test_a_provider_loads_the_folder(self):
        text = (FOLDER / "provisioning.yml").read_text()
        for words in ("apiVersion: 1\n", "    type: file\n", "    allowUiUpdates: false\n",
                      "      path: /usr/share/prefixd/grafana\n"):
            self.assertIn(words, text)


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    sys.exit(1 if not result.wasSuccessful() else SKIPPED if result.skipped else 0)
