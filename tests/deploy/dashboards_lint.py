"""What must hold for a Grafana dashboard of prefixd, as functions that return faults.

The rules are those of Grafana's own linter (variables, matchers of job and instance, $__rate_interval, units,
descriptions, valid PromQL, not editable), and that every metric exists.
"""

import json
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = ("datasource", "job", "model_name", "instance")
UNITS = {"s", "dtdurations", "percentunit", "bytes", "binBps", "short", "ops", "reqps", "suffix:tokens/s"}
KINDS = {"timeseries", "stat", "heatmap"}
OF_PROMETHEUS = {"ALERTS"}  # what Prometheus makes of its rules
# A word of PromQL that is no metric: an operator or a keyword. A function has a bracket after it.
KEYWORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left",
            "group_right", "inf", "nan"}
LABEL_LISTS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
# A text, a number, or a name with what follows it: a bracket, or matchers.
TOKEN = re.compile(r'"[^"]*"|\d[\w.]*|([a-zA-Z_:][\w:]*)\s*(\(|\{((?:[^}"]|"[^"]*")*)\})?')
WINDOW = re.compile(r"\[([^\]]*)\]")


def known_metrics():
    """The names that the daemon gives, and those of Prometheus."""
    text = "".join((ROOT / "daemon" / name).read_text() for name in ("metric_rows.cc", "metrics.cc"))
    return set(re.findall(r'"((?:prefixd_|vllm:|process_)\w+)"', text)) | OF_PROMETHEUS


def selectors(expression):
    """Pairs of each metric of an expression and its matchers, as text."""
    bare = WINDOW.sub(" ", LABEL_LISTS.sub(" ", expression))
    found = [match.groups() for match in TOKEN.finditer(bare)]
    return [(name, matchers or "") for name, opened, matchers in found
            if name and opened != "(" and name not in KEYWORDS]


def base_name(metric):
    return re.sub(r"_(bucket|count|sum)$", "", metric)


def expressions(dashboard):
    """Every expression of the panels, with the name of its panel."""
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


def frame_faults(dashboard, stem):
    """The dashboard itself: identity, links, not editable."""
    faults = []
    for key, value in (("uid", stem), ("schemaVersion", 39), ("editable", False), ("tags", ["prefixd"])):
        if dashboard.get(key) != value:
            faults.append(f"{key} is {dashboard.get(key)!r} and must be {value!r}")
    for key in ("title", "description"):
        if not dashboard.get(key):
            faults.append(f"the dashboard has no {key}")
    links = [link for link in dashboard.get("links", []) if link.get("type") == "dashboards"]
    if not any(link.get("tags") == ["prefixd"] and link.get("includeVars") for link in links):
        faults.append("no link by the tag prefixd that keeps the variables")
    return faults


def variable_faults(dashboard, metrics):
    found = dashboard["templating"]["list"]
    names = tuple(each["name"] for each in found)
    if names != VARIABLES:
        return [f"the variables are {names} and must be {VARIABLES}"]
    faults = []
    if found[0]["type"] != "datasource" or found[0]["query"] != "prometheus":
        faults.append("the variable datasource does not choose a Prometheus")
    for each in found[1:]:
        query = re.fullmatch(r"label_values\(([\w:]+)(\{.*\})?, (\w+)\)", each["query"]["query"])
        if query is None or query.group(3) != each["name"]:
            faults.append(f"the variable {each['name']} is not label_values of its own label")
        elif query.group(1) not in metrics:
            faults.append(f"the variable {each['name']} asks for {query.group(1)}, which does not exist")
        if each["datasource"] != SOURCE or not each["multi"] or not each["includeAll"] or not each["refresh"]:
            faults.append(f"the variable {each['name']} must be of the data source, multiple, and refreshed")
    return faults


def layout_faults(dashboard):
    taken, faults = {}, []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > 24 or place["w"] < 1 or place["h"] < 1:
            faults.append(f"{panel['title']}: it does not fit the 24 columns")
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (other := taken.setdefault((x, y), panel["id"])) != panel["id"]:
                    return [f"{panel['title']}: it covers panel {other}"]
    for key in ("id", "title"):
        values = [panel[key] for panel in dashboard["panels"]]
        faults += [f"two panels have the {key} {value!r}" for value in set(values) if values.count(value) > 1]
    return faults


def panel_faults(dashboard):
    """Kind, unit, description and data source of each panel."""
    faults = []
    for panel in dashboard["panels"]:
        title = panel["title"]
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] not in KINDS:
            faults.append(f"{title}: the kind {panel['type']} is none of {sorted(KINDS)}")
        if unit not in UNITS:
            faults.append(f"{title}: the unit {unit!r} is none of {sorted(UNITS)}")
        if panel.get("datasource") != SOURCE:
            faults.append(f"{title}: the data source is not the variable")
        parts = re.fullmatch(r"Metrics: (.+)\n\n(.+)\n\nWhat to do: (.+)", panel.get("description", ""))
        if parts is None:
            faults.append(f"{title}: the description must have metrics, meaning and what to do")
            continue
        named = set(re.findall(r"`([\w:]+)`", parts.group(1)))
        used = {base_name(name) for target in panel["targets"] for name, _ in selectors(target["expr"])}
        if named != used:
            faults.append(f"{title}: the description names {sorted(named)}, the panel has {sorted(used)}")
        faults += [f"{title}: '{text}' is no sentence" for text in parts.groups()[1:]
                   if len(text) < 12 or not text.endswith(".")]
        if not panel["targets"]:
            faults.append(f"{title}: it has no expression")
    return faults


def target_faults(dashboard, metrics):
    """The expressions, but for their syntax: matchers, windows, and that metrics exist."""
    faults = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            where = f"{panel['title']}: {target['expr']}"
            if target.get("datasource") != SOURCE:
                faults.append(f"{where}: the data source is not the variable")
            if not target.get("legendFormat"):
                faults.append(f"{where}: no legend")
            for name, matchers in selectors(target["expr"]):
                if base_name(name) not in metrics:
                    faults.append(f"{where}: the metric {name} does not exist")
                wanted = ["job", "instance"] + (["model_name"] if name.startswith("vllm:") else [])
                faults += [f"{where}: {name} lacks the matcher of {label}" for label in wanted
                           if f'{label}=~"${label}"' not in matchers.split(", ")]
            windows = {"$__rate_interval"} | ({"$__range"} if panel["type"] == "stat" else set())
            faults += [f"{where}: the window [{window}] is none of {sorted(windows)}"
                       for window in WINDOW.findall(target["expr"]) if window not in windows]
    return faults


def filled_in(expression, window="5m", span="1h", job=".*", instance=".*", model_name=".*"):
    """An expression as Grafana would send it, with values for the variables."""
    values = {"$__rate_interval": window, "$__range": span, "$job": job, "$instance": instance,
              "$model_name": model_name}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


def promql_faults(found):
    """What promtool says against (place, expression) pairs: one line for each that is not PromQL."""
    rules = [{"record": f"e:{number}", "expr": filled_in(expression)}
             for number, (_, expression) in enumerate(found)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
        done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    output = done.stdout + done.stderr
    faults = [f"{found[int(number)][0]}: {found[int(number)][1]}: {what}"
              for number, what in re.findall(r'"e:(\d+)": (.*)', output)]
    return faults or ([output] if done.returncode != 0 else [])


def faults_of(dashboard, stem, metrics):
    """All faults but those of PromQL, which promtool finds for all dashboards at once."""
    return (frame_faults(dashboard, stem) + variable_faults(dashboard, metrics) + layout_faults(dashboard)
            + panel_faults(dashboard) + target_faults(dashboard, metrics))
