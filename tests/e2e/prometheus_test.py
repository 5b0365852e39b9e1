"""A real Prometheus scrapes the daemon while a load runs that hits, misses, evicts, spills, preempts and
leaves, while the daemon restarts, and while it finds a damaged record. Every expression of the alerts and of
the dashboards must then have had values, and the laws of the metrics must have held at every scrape.
"""

import concurrent.futures
import json
import math
import re
import sys

import pytest
from daemon import ROOT, Daemon, wait_until
from prometheus_server import FOLDER, PROGRAM, Prometheus, is_finite
from tiers_test import CONTEXT, LOAD, SMALL_POOL, ask, check_at_rest, prompt, wait_until_put

sys.path.insert(0, str(ROOT / "tests/deploy"))
from dashboards_lint import expressions, filled_in, selectors  # noqa: E402

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed (Debian package)")

PROMPTS, ROUNDS = 8, 3
PAGES = ("overview", "cache", "tiers", "requests")
WINDOW, SPAN = "3s", "5m"  # of rates, and longer than the run

# Panels without a value above 0, and why. The panels not named here must have one.
STILL = {
    "Laws of the counters": "they hold",
    "Failed steps": "no step fails",
    "Tier errors": "the disk does not fail; a damaged record is a verify failure",
    "Deferred spills": "depends on the processors of the machine",
    "What spills cost, and what a disk can save": "the same",
    "Bytes that eviction copied forward": "the disk is large enough",
    "Attention reads that sharing saved": "no two prompts share 512 tokens",
    "Refused for want of memory": "the limit is far away",
    "Retention: blocks not kept any more": "nothing is kept for less than a minute",
    "Running and waiting requests": "a quick machine has answered all between two scrapes",
    "KV blocks that requests hold": "the same",
    "Requests in the engine": "the same",
}


def load_round(daemon, number):
    """Requests of every kind. The prompts with a seed below PROMPTS evict each other and come again."""
    for seed in range(PROMPTS):
        ask(daemon, prompt(seed))
        wait_until_put(daemon, seed + 1)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        grow = [threads.submit(daemon.complete, prompt=prompt(100 + seed, 60), max_tokens=150,
                               ignore_eos=True) for seed in range(8)]  # more than the pool holds
        same = [threads.submit(daemon.complete, prompt=prompt(200 + number, 200), max_tokens=2, n=2)
                for _ in range(4)]
        for each in grow + same:
            each.result()
    schema = {"type": "object", "propertyNames": {}, "additionalProperties": False}
    status, _, text = daemon.request("POST", "/v1/chat/completions", {
        "model": "demo", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}})
    assert status == 200, text
    daemon.complete(prompt=prompt(400 + number, 40), max_tokens=1, prompt_cache_options={"ttl": "1h"})
    daemon.start_stream(prompt=prompt(300 + number, 40), max_tokens=300, ignore_eos=True).close()
    check_at_rest(daemon)


def wait_until_scraped(prometheus, daemon):
    tokens = sum(value for (name, _), value in daemon.metrics().items() if name == "vllm:prompt_tokens_total")
    prometheus.wait_for("sum(vllm:prompt_tokens_total)", tokens, f"a scrape with {tokens} prompt tokens")


def damage(folder):
    """Flips bits in the middle of every segment."""
    segments = sorted(folder.rglob("*.sst"))
    assert segments
    for path in segments:
        data = bytearray(path.read_bytes())
        for at in (len(data) // 3, len(data) // 2, 2 * len(data) // 3):
            data[at] ^= 0x10
        path.write_bytes(data)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    disk = ["--disk-cache-dir", folder / "kv", "--disk-cache", "64MiB", "--disk-write-through"]
    options = ["--context", CONTEXT, "--host-cache", "1MiB", *disk, *LOAD]
    with Daemon(*options, device_cache=SMALL_POOL) as daemon:
        address = daemon.url.removeprefix("http://")
        with Prometheus(folder / "server", address) as server:
            server.wait_for("sum(vllm:prompt_tokens_total)", 0, "the first scrape")
            for number in range(ROUNDS):
                load_round(daemon, number)
                wait_until_scraped(server, daemon)
            daemon.signal()
            assert daemon.exit_code() == 0
            server.wait_for("up", 0, "a scrape without an answer")
            damage(folder / "kv")
            with Daemon(*options, device_cache=SMALL_POOL, listen=address) as again:
                wait_until(lambda: again.logged("the disk cache is scanned"), "the scan")
                server.wait_for("up", 1, "a scrape after the restart")
                for seed in range(PROMPTS):
                    ask(again, prompt(seed))
                check_at_rest(again)
                wait_until_scraped(server, again)
                server.wait_for('max(count_over_time(ALERTS{alertstate="firing"}[1m])) >= bool 4', 1,
                                "the alert of the damaged record")
                yield server


def page(name):
    return json.loads((ROOT / f"deploy/grafana/prefixd-{name}.json").read_text())


def filled(expression):
    return filled_in(expression, WINDOW, SPAN, job="prefixd")


@pytest.mark.parametrize("name", PAGES)
def test_every_panel_has_had_finite_values(prometheus, name):
    moved = {}
    for title, expression in expressions(page(name)):
        values = prometheus.over_run(filled(expression))
        assert values, f"{title}: {expression} is empty"
        if "histogram_quantile(" in expression:  # NaN where the window has no observation
            values = [value for value in values if not math.isnan(value)]
        assert values and is_finite(values), f"{title}: {expression} gives {set(values)}"
        moved[title] = moved.get(title, False) or max(values) > 0
    assert [title for title, above in moved.items() if not above and title not in STILL] == []


def test_what_is_refused_there(prometheus):
    assert is_finite([0, 1.5]) and not is_finite([0, math.inf]) and not is_finite([math.nan])
    assert prometheus.over_run('prefixd_ready{job="other"}') == []
    assert prometheus.over_run("prefixd_no_such_metric") == []


def test_the_variables_of_the_dashboards_have_values(prometheus):
    wanted = {"job": {"prefixd"}, "model_name": {"demo"}}
    for name in PAGES:
        for variable in page(name)["templating"]["list"][1:]:
            query = re.fullmatch(r"label_values\((.+), (\w+)\)", filled(variable["query"]["query"]))
            series = prometheus.api("series", **{"match[]": query.group(1)})
            found = {each[query.group(2)] for each in series}
            assert found and found == wanted.get(variable["name"], found), variable["name"]


def rules():
    """Pairs of the name of a rule and its expression."""
    text = (FOLDER / "prefixd.rules.yml").read_text()
    found = re.findall(r"- (?:alert|record): (\S+)\n +expr: (?:>-\n)?(.*?)\n(?: +for:| +labels:|\n)", text,
                       re.S)
    assert len(found) == len(re.findall(r"expr:", text))
    return [(name, re.sub(r"\s+", " ", expression).strip()) for name, expression in found]


def as_bool(condition):
    """The condition of an alert as 0 or 1: its outer comparisons do not filter. Yesterday is a second ago."""
    condition = condition.replace("[1d] offset 1d", "[1s] offset 1s")
    made, depth = "", 0
    for word in re.findall(r"[()]|[<>=!]=?|[^()<>=!]+", condition):
        depth += {"(": 1, ")": -1}.get(word, 0)
        made += word + (" bool" if depth == 0 and word in ("<", ">", "==") else "")
    return made


def test_a_condition_becomes_0_or_1():
    assert as_bool('sum(rate(a{b="c"}[5m])) / (d > 0) > 2 and on (e) f == 0') == (
        'sum(rate(a{b="c"}[5m])) / (d > 0) > bool 2 and on (e) f == bool 0')


def test_every_alert_has_had_values(prometheus):
    for name, expression in rules():
        values = prometheus.over_run(as_bool(expression))
        assert values and is_finite(values), f"{name}: {as_bool(expression)} gives {values}"
        assert name.startswith("instance:") or set(values) <= {0, 1}, name
        for metric, matchers in selectors(expression):
            assert prometheus.over_run(f"{metric}{{{matchers}}}"), f"{name}: {metric} is empty"


def test_the_damaged_record_fires_and_the_restart_is_pending(prometheus):
    assert prometheus.labels_over_run('ALERTS{alertstate="firing"}', "alertname") == {"PrefixdVerifyFailures"}
    assert "PrefixdDown" in prometheus.labels_over_run('ALERTS{alertstate="pending"}', "alertname")


ZERO = {
    "sources sum to prompts": "sum(prefixd_prompt_tokens_total) - sum(vllm:prompt_tokens_total)",
    "reasons sum to computed":
        'sum(prefixd_cache_miss_tokens_total) - sum(prefixd_prompt_tokens_total{source="computed"})',
    "blocks sum to the capacity":  # before the model is loaded there is none
        'sum by (tier) (prefixd_blocks{tier!="disk"} and on () prefixd_ready == 1)'
        ' - sum by (tier) (prefixd_blocks{tier!="disk"} @ end())',
    "a block has the same bytes in every tier":
        'sum(prefixd_tier_capacity_bytes{tier="device"}) * sum(prefixd_blocks{tier="host"})'
        ' - sum(prefixd_tier_capacity_bytes{tier="host"}) * sum(prefixd_blocks{tier="device"})',
}
TRUE = {
    "tiers stay within their capacity": "prefixd_tier_bytes <= bool prefixd_tier_capacity_bytes",
    "memory of requests stays within its limit":
        "prefixd_inflight_bytes <= bool prefixd_inflight_limit_bytes + 8192 * 1024",
    "repeated tokens are part of the prompts":
        "prefixd_repeated_prompt_tokens_total <= bool on (source) prefixd_prompt_tokens_total",
    "vLLM's hits are part of its queries":
        "vllm:prefix_cache_hits_total <= bool vllm:prefix_cache_queries_total",
}


@pytest.mark.parametrize("law", [*ZERO, *TRUE])
def test_a_law_holds_at_every_scrape(prometheus, law):
    values = prometheus.over_run(ZERO.get(law) or TRUE[law])
    assert len(values) >= 5 and set(values) == {0.0 if law in ZERO else 1.0}


def names_ending(prometheus, *endings):
    names = [name for name in prometheus.api("label/__name__/values")
             if name.startswith(("prefixd_", "vllm:")) and name.endswith(endings)]
    assert len(names) > 6
    return names


def test_buckets_sum_to_the_count_at_every_scrape(prometheus):
    for name in names_ending(prometheus, "_seconds_count"):
        bucket = name.removesuffix("_count") + '_bucket{le="+Inf"}'
        assert set(prometheus.over_run(f"{name} - ignoring (le) {bucket}")) == {0.0}, name


def test_counters_fall_at_the_restart_alone(prometheus):
    for name in names_ending(prometheus, "_total", "_count", "_bucket"):
        assert max(prometheus.now(f"resets({name}[{SPAN}])")) <= 1, name
    assert max(prometheus.now(f"resets(prefixd_prompt_tokens_total[{SPAN}])")) == 1


def test_nothing_is_held_at_rest(prometheus):
    for expression in ('sum(prefixd_blocks{state="leased"})', "sum(vllm:num_requests_running)",
                       "sum(vllm:num_requests_waiting)", "sum(prefixd_inflight_bytes)"):
        assert prometheus.now(expression) == [0], expression
