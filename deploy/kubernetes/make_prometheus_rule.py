#!/usr/bin/env python3
"""Writes base/prometheusrule.yaml: the rules of deploy/prometheus/prefixd.rules.yml for the operator of
Prometheus. The test of the manifests says when it has to run again."""

import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent
RULES = FOLDER.parent / "prometheus/prefixd.rules.yml"
HEAD = """\
---
# Made by make_prometheus_rule.py from deploy/prometheus/prefixd.rules.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: prefixd
  labels: {app.kubernetes.io/name: prefixd}
spec:
"""


def prometheus_rule():
    lines = RULES.read_text(encoding="utf-8").splitlines()
    return HEAD + "".join(f"  {line}".rstrip() + "\n" for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    FOLDER.joinpath("base/prometheusrule.yaml").write_text(prometheus_rule(), encoding="utf-8")
