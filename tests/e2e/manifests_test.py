"""Checks the manifests of deploy/kubernetes: their fields, their times, their rules, their options."""

import copy
import pathlib
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from daemon import MODEL, ROOT, Daemon, run

FOLDER = ROOT / "deploy/kubernetes"
KUBERNETES = "1.33"  # sleep in preStop needs 1.30
CUSTOM = {"PodMonitor", "PrometheusRule"}  # kinds whose schema is not that of Kubernetes

sys.path.insert(0, str(FOLDER))
from make_prometheus_rule import prometheus_rule  # noqa: E402  pylint: disable=wrong-import-position


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def merge(base, patch):
    """The strategic merge of Kubernetes, as far as these patches need it: lists of named items by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = copy.deepcopy(base)
        for key, value in patch.items():
            merged[key] = merge(base[key], value) if key in base else copy.deepcopy(value)
        return merged
    if isinstance(base, list) and isinstance(patch, list) and all("name" in item for item in base + patch):
        patches = {item["name"]: item for item in patch}
        assert patches.keys() <= {item["name"] for item in base}, "a patch of what is not there"
        return [merge(item, patches[item["name"]]) if item["name"] in patches else item for item in base]
    return copy.deepcopy(patch)


def overlay(name):
    """The objects of an overlay, as `kubectl kustomize` would print them but for the name of the image."""
    folder = FOLDER / "overlays" / name
    (kustomization,) = documents(folder / "kustomization.yaml")
    (base,) = [folder / resource for resource in kustomization["resources"]]
    (listed,) = documents(base / "kustomization.yaml")
    objects = [item for resource in listed["resources"] for item in documents(base / resource)]
    for listed_patch in kustomization["patches"]:
        (patch,) = documents(folder / listed_patch["path"])
        places = [i for i, item in enumerate(objects) if item["kind"] == patch["kind"] and
                  item["metadata"]["name"] == patch["metadata"]["name"]]
        assert len(places) == 1, patch["metadata"]
        objects[places[0]] = merge(objects[places[0]], patch)
    return objects


def find(objects, kind, name="prefixd"):
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def validate(item):
    kubernetes_validate.validate(item, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_kubernetes_knows_every_field(name):
    kinds = set()
    for item in overlay(name):
        kinds.add(item["kind"])
        if item["kind"] not in CUSTOM:
            validate(item)
    assert kinds == {"StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget", *CUSTOM}
    resources = find(overlay(name), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert ("nvidia.com/gpu" in resources["limits"]) == (name == "gpu")


def test_a_misspelt_field_is_found():
    item = find(overlay("cpu"), "StatefulSet")
    item["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        validate(item)


def test_a_pod_is_confined_and_has_time_to_drain():
    pod = find(overlay("cpu"), "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["enableServiceLinks"] is False, "a Service named prefixd would set variables PREFIXD_*"
    assert pod["securityContext"]["runAsUser"] == 65532 and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    options = (FOLDER / "base/prefixd.toml").read_text(encoding="utf-8")
    (drain,) = [int(line.split("=")[1]) for line in options.splitlines() if line.startswith("drain-seconds")]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + drain + 10
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    claims = {claim["metadata"]["name"] for claim in find(overlay("cpu"), "StatefulSet")["spec"]
              ["volumeClaimTemplates"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == claims | {volume["name"] for volume in pod["volumes"]}


def test_all_select_the_same_pods_and_ports():
    objects = overlay("cpu")
    stateful_set = find(objects, "StatefulSet")
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in stateful_set["spec"]["template"]["spec"]["containers"][0]["ports"]}
    selectors = [stateful_set["spec"]["selector"]["matchLabels"],
                 find(objects, "Service")["spec"]["selector"],
                 find(objects, "Service", stateful_set["spec"]["serviceName"])["spec"]["selector"],
                 find(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
                 find(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
                 find(objects, "PodMonitor")["spec"]["selector"]["matchLabels"]]
    assert all(selector == labels for selector in selectors)
    used = [port["targetPort"] for port in find(objects, "Service")["spec"]["ports"]]
    used += [port["port"] for rule in find(objects, "NetworkPolicy")["spec"]["ingress"]
             for port in rule["ports"]]
    used += [endpoint["port"] for endpoint in find(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]]
    assert set(used) == ports


def test_the_rules_are_those_of_the_one_file(tmp_path):
    path = FOLDER / "base/prometheusrule.yaml"
    assert path.read_text(encoding="utf-8") == prometheus_rule(), "run make_prometheus_rule.py"
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(find(overlay("cpu"), "PrometheusRule")["spec"]), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(rules)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_daemon_takes_the_options(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-of-the-test\n", encoding="utf-8")
    done = run("validate", "--config", FOLDER / "base/prefixd.toml", "--model", MODEL, "--api-keys", keys,
               "--disk-cache-dir", tmp_path / "cache")
    assert done.returncode == 0, done.stderr


def test_the_variables_of_a_service_named_prefixd_disturb_nothing():
    tcp = "PREFIXD_PORT_8080_TCP"
    links = {"PREFIXD_SERVICE_HOST": "10.0.0.1", "PREFIXD_SERVICE_PORT": "8080",
             "PREFIXD_SERVICE_PORT_HTTP": "8080", "PREFIXD_PORT": "tcp://10.0.0.1:8080",
             tcp: "tcp://10.0.0.1:8080", f"{tcp}_PROTO": "tcp", f"{tcp}_PORT": "8080",
             f"{tcp}_ADDR": "10.0.0.1"}
    with Daemon(environment=links) as daemon:
        assert daemon.complete(prompt="Once", max_tokens=2)["usage"]["completion_tokens"] == 2
        log = "".join(daemon.log)
    assert [name for name in links if name in log] == [], "they are no options"


def test_yamllint_is_silent():
    if shutil.which("yamllint") is None:
        pytest.skip("yamllint is not installed")
    rules = ("{line-length: {max: 160}, braces: {max-spaces-inside: 1},"
             " comments: {min-spaces-from-content: 1}}")
    files = sorted(str(path) for path in pathlib.Path(FOLDER).rglob("*.yaml"))
    done = subprocess.run(["yamllint", "--strict", "-d", f"{{extends: default, rules: {rules}}}", *files],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
