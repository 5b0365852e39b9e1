#!/usr/bin/env python3
"""Writes the dashboards prefixd-*.json beside it, in Grafana's classic JSON, from panels.py.

tests/deploy/dashboards_test.py fails until the files are what this writes.
"""

import json
import pathlib
import re

import panels

FOLDER = pathlib.Path(__file__).resolve().parent
TAG = "prefixd"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
METRIC = re.compile(r"\b(?<!:)((?:prefixd_|vllm:|process_)\w+|ALERTS)(?:\{([^}]*)\})?")
HEIGHT, STAT_HEIGHT = 8, 4
NO_TRAFFIC = "no traffic"


def metrics_in(expression):
    """The names of its metrics, without the suffixes of histograms, in order."""
    names = [re.sub(r"_(bucket|sum|count)$", "", match.group(1)) for match in METRIC.finditer(expression)]
    return list(dict.fromkeys(names))


def expand(expression):
    """Adds the variables of the dashboard to every selector, and names the windows as Grafana does."""
    def selector(match):
        matchers = ['job=~"$job"', 'instance=~"$instance"']
        if match.group(1).startswith("vllm:"):
            matchers.append('model_name=~"$model_name"')
        if match.group(2):
            matchers.append(match.group(2))
        return f"{match.group(1)}{{{', '.join(matchers)}}}"

    text = METRIC.sub(selector, expression)
    return text.replace("[w]", "[$__rate_interval]").replace("[span]", "[$__range]")


def describe(panel):
    names = dict.fromkeys(name for expression, _ in panel.targets for name in metrics_in(expression))
    return (f"Metrics: {', '.join(f'`{name}`' for name in names)}\n\n{panel.meaning}\n\n"
            f"What to do: {panel.action}")


def target(panel, index):
    expression, legend = panel.targets[index]
    made = {"datasource": SOURCE, "editorMode": "code", "expr": expand(expression), "legendFormat": legend,
            "range": True, "refId": chr(ord("A") + index)}
    if panel.kind == "stat":
        made |= {"instant": True, "range": False}
    if panel.kind == "heatmap":
        made["format"] = "heatmap"
    return made


def options(panel):
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "textMode": "value_and_name" if "{{" in panel.targets[0][1] else "value"}
    if panel.kind == "heatmap":
        return {"calculate": False, "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}, "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "unit": panel.unit}}
    return {"legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"}}


def field_config(panel):
    mappings = [{"type": "special", "options": {"match": "nan", "result": {"index": 0, "text": NO_TRAFFIC}}}]
    if panel.words:
        words = {value: {"index": 1 + i, "text": text} for i, (value, text) in enumerate(panel.words.items())}
        mappings.append({"type": "value", "options": words})
    defaults = {"mappings": mappings, "noValue": NO_TRAFFIC, "unit": panel.unit}
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"drawStyle": "line", "fillOpacity": 40 if panel.stack else 0, "lineWidth": 1,
                              "showPoints": "never", "spanNulls": False,
                              "stacking": {"group": "A", "mode": "normal" if panel.stack else "none"}}
        if not any("-" in expression for expression, _ in panel.targets):
            defaults["min"] = 0
    return {"defaults": defaults, "overrides": []}


def lay_out(rows):
    """Places the panels from left to right, and pairs each with its place."""
    x = y = height = 0
    placed = []
    for panel in rows:
        if x + panel.width > 24:
            x, y, height = 0, y + height, 0
        tall = STAT_HEIGHT if panel.kind == "stat" and panel.width < 8 else HEIGHT
        placed.append((panel, {"h": tall, "w": panel.width, "x": x, "y": y}))
        x, height = x + panel.width, max(height, tall)
    return placed


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True,
            "includeAll": True, "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "hide": 0, "options": [], "regex": ""}


def variables():
    """The instances are those of the chosen models, so that a model also chooses metrics without its name."""
    return [
        {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus",
         "current": {}, "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1,
         "regex": ""},
        variable("job", "job", "label_values(prefixd_ready, job)"),
        variable("model_name", "model",
                 'label_values(vllm:cache_config_info{job=~"$job"}, model_name)'),
        variable("instance", "instance",
                 'label_values(vllm:cache_config_info{job=~"$job", model_name=~"$model_name"}, instance)'),
    ]


def dashboard(page):
    made = []
    for number, (panel, place) in enumerate(lay_out(page.panels), 1):
        made.append({"id": number, "title": panel.title, "description": describe(panel), "type": panel.kind,
                     "datasource": SOURCE, "gridPos": place, "fieldConfig": field_config(panel),
                     "options": options(panel),
                     "targets": [target(panel, index) for index in range(len(panel.targets))]})
    return {"uid": f"prefixd-{page.name}", "title": page.title, "description": page.about, "tags": [TAG],
            "schemaVersion": 39, "version": 1, "editable": False, "graphTooltip": 1, "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "annotations": {"list": []},
            "links": [{"type": "dashboards", "title": "", "tags": [TAG], "asDropdown": False,
                       "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link",
                       "tooltip": "", "url": ""}],
            "templating": {"list": variables()}, "panels": made}


def files():
    """The texts of all dashboards by the name of their file."""
    return {f"prefixd-{page.name}.json": json.dumps(dashboard(page), indent=1, ensure_ascii=False) + "\n"
            for page in panels.PAGES}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
