"""Medians of the runs of bench/peers, ratios between prefixd and the best peer, and both as tables."""

import statistics

OURS = "prefixd"
SPEEDS = ["prefill512", "prefill2048", "decode", "own prefill512", "own prefill2048", "own decode", "start"]
LOADS = ["shared", "cold", "turns", "shared_used", "cold_used", "turns_used", "shared_busy"]


def medians(runs):
    return {label: {name: statistics.median(values) for name, (values, _) in figures.items()}
            for label, figures in runs.items()}


def results(runs):
    """The rows of the JSON file."""
    return [{"name": f"{label}: {name}", "value": statistics.median(values), "unit": unit,
             "lowest": min(values), "highest": max(values), "runs": len(values)}
            for label, figures in runs.items() for name, (values, unit) in figures.items()]


def is_time(figure):
    return figure == "start" or figure.endswith((" wall", " ttft_p50", " ttft_p95"))


def ratios(runs):
    """How many times better prefixd is, for each of its formats and each figure: than the best peer of any
    format and than the best of the same format. Above 1 it is better."""
    found = medians(runs)
    rows = []
    for ours, figures in found.items():
        name, weights = ours.split()
        for figure, value in figures.items() if name == OURS else ():
            if figure.endswith(" cached") or figure == "start":
                continue
            better = min if is_time(figure) else max
            for against in ("any", weights):
                peers = {label: other[figure] for label, other in found.items()
                         if label.split()[0] != OURS and figure in other
                         and against in ("any", label.split()[1])}
                if peers:
                    best = better(peers, key=peers.get)
                    ratio = peers[best] / value if is_time(figure) else value / peers[best]
                    rows.append({"name": f"{ours}: {figure}", "value": ratio, "unit": "x",
                                 "against": against, "best": best})
    rows += [{"name": f"{label}: shared_busy over shared", "value":
              figures["shared_busy wall"] / figures["shared wall"], "unit": "x", "against": "itself",
              "best": label}
             for label, figures in found.items() if {"shared_busy wall", "shared wall"} <= figures.keys()]
    return rows


def table(head, rows):
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value):
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def tables(runs):
    """The tables as text: speeds, workloads, ratios."""
    found = medians(runs)
    speeds = [name for name in SPEEDS if any(name in figures for figures in found.values())]
    loads = [name for name in LOADS if any(f"{name} wall" in figures for figures in found.values())]
    parts = []
    if speeds:
        parts.append(table(["tokens/s; start: s", *speeds],
                           [[label, *(number(figures.get(name)) for name in speeds)]
                            for label, figures in found.items()]))
    if loads:
        parts.append(table(["wall s; ttft p95 s; cached", *loads],
                           [[label, *("; ".join(number(figures.get(f"{name} {part}"))
                                                for part in ("wall", "ttft_p95", "cached"))
                                      if f"{name} wall" in figures else "" for name in loads)]
                            for label, figures in found.items()]))
    compared = ratios(runs)
    if compared:
        parts.append(table(["times better", "ratio", "best peer of format", "which is"],
                           [[row["name"], f"{row['value']:.2f}", row["against"], row["best"]]
                            for row in compared]))
    return "\n\n".join(parts)
