"""bench/serve against the daemon, and against servers that fail: what it counts, and what its errors say."""

import http.server
import json
import os
import pathlib
import re
import subprocess
import threading

import pytest

from daemon import MODEL, PATIENCE, ROOT, Daemon, run, wait_until

PROGRAM = ROOT / "build/release/bench/serve_bench"


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as started:
        yield started


def serve(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)


def measure(tmp_path, *arguments):
    """The rows of the JSON file by name, after a run without failures."""
    path = tmp_path / "serve.json"
    done = serve(*arguments, "--json", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("machine: ")
    return {row["name"]: row for row in json.loads(path.read_text())["results"]}


def test_every_workload_is_answered_and_reported(daemon, tmp_path):
    rows = measure(tmp_path, daemon.url, "--prefix-words", 200, "--question-words", 40, "--requests", 8,
                   "--output-tokens", 8)
    for name in ("shared", "cold", "turns", "tenants"):
        wall, ttft = rows[f"{name}: wall"], rows[f"{name}: ttft_p50"]
        assert (wall["requests_ok"], wall["requests_failed"]) == (8, 0)
        assert 0 < ttft["value"] <= ttft["ttft_p95"] <= wall["value"]
        assert rows[f"{name}: itl_p50"]["value"] <= rows[f"{name}: itl_p50"]["itl_p95"]
        assert rows[f"{name}: output"]["output_tokens"] == 8 * 8
        assert rows[f"{name}: prompt"]["prompt_tokens"] > 8 * 200
    # Words shared by the prompts: 7/8 of 200/240, nothing but the template, and all but the last turn.
    assert rows["shared: cached_share"]["value"] > 0.5
    assert rows["cold: cached_share"]["value"] < 0.05
    assert rows["turns: cached_share"]["value"] > 0.5


def test_the_requests_that_fill_the_tree_are_not_measured(daemon, tmp_path):
    def total():
        samples = daemon.metrics()
        return sum(value for (name, _), value in samples.items() if name == "vllm:request_success_total")
    before = total()
    rows = measure(tmp_path, daemon.url, "--workload", "shared", "--prefix-words", 200, "--requests", 8,
                   "--question-words", 10, "--output-tokens", 4, "--used-tree", "--seed", 5)
    assert rows["shared: wall"]["requests_ok"] == 8
    assert rows["shared: output"]["output_tokens"] == 8 * 4
    assert total() - before == 8 + 6 + 8  # the workload, one per length, the unrelated ones
    assert rows["shared: cached_share"]["value"] > 0.75, "the common opening is computed once"


def test_an_open_loop_sends_at_its_rate(daemon, tmp_path):
    rows = measure(tmp_path, daemon.url, "--workload", "tenants", "--prefix-words", 5, "--question-words", 5,
                   "--requests", 10, "--rate", 20, "--output-tokens", 2)
    assert rows["tenants: wall"]["requests_ok"] == 10
    assert rows["tenants: wall"]["rate"] == 20


def test_errors_name_the_value_and_the_remedy(daemon):
    wrong = [((daemon.url, "--model", "gpt"), 1, "no model 'gpt'.*--model: demo"),
             ((daemon.url + "/api",), 1, "HTTP 404.*check URL"),
             ((daemon.url, "--workload", "hot"), 2, "--workload 'hot'.*shared"),
             ((daemon.url, "--clients", "2", "--rate", "2"), 2, "exclude each other"),
             (("127.0.0.1:8080",), 2, "URL '127.0.0.1:8080'.*http://"),
             (("http://127.0.0.1:1",), 1, "cannot connect to http://127.0.0.1:1.*start the server")]
    for arguments, code, message in wrong:
        done = serve(*arguments)
        assert done.returncode == code, (arguments, done)
        assert re.search(message, done.stderr), (arguments, done.stderr)


def test_a_failed_request_is_counted_and_its_error_shown(daemon):
    done = serve(daemon.url, "--workload", "shared", "--requests", 2, "--prefix-words", 4000)
    assert done.returncode == 1
    assert "2 of 2 requests failed; the first error: " in done.stderr and "HTTP 400" in done.stderr
    assert re.search(r"requests_ok 0 +requests_failed 2", done.stdout)
    assert re.search(r"cached_share +n/a", done.stdout)


class Handler(http.server.BaseHTTPRequestHandler):
    """Streams `server.events`; without a key, 401 when `server.key` is set."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(b'{"data": [{"id": "fake"}]}', "application/json")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.server.events, "text/event-stream")

    def answer(self, body, kind):
        refused = self.server.key and self.headers["Authorization"] != "Bearer " + self.server.key
        self.send_response(401 if refused else 200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "no key"}}' if refused else body)


@pytest.fixture
def fake():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.events, server.key = b"", ""
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


def test_a_server_without_usage(fake, tmp_path):
    fake.events = (b': hello\r\n\r\ndata: {"choices": [{"delta": {"content": "a"}}]}\r\n\r\n'
                   b'data: {"choices": [{"delta": {"content": "b"}}]}\r\n\r\ndata: [DONE]\r\n\r\n')
    rows = measure(tmp_path, fake.url, "--workload", "cold", "--requests", 3)
    assert rows["cold: output"]["output_tokens"] == 6
    assert rows["cold: cached_share"]["value"] is None
    assert rows["cold: prompt"]["value"] is None


@pytest.mark.parametrize("events, message", [
    (b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "ended before"),
    (b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n', "out of memory"),
    (b"data: {oops\n\n", "not JSON")])
def test_a_stream_that_fails(fake, events, message):
    fake.events = events
    done = serve(fake.url, "--workload", "turns")
    assert done.returncode == 1
    assert "24 of 24 requests failed" in done.stderr and message in done.stderr


def test_a_key(fake):
    fake.key, fake.events = "secret", b"data: [DONE]\n\n"
    done = serve(fake.url)
    assert done.returncode == 1 and "no key" in done.stderr and "--api-key" in done.stderr
    assert serve(fake.url, "--workload", "cold", "--api-key", "secret").returncode == 0


@pytest.mark.parametrize("gguf", [False, True])
def test_load_starts_the_daemon_cold_and_warm(tmp_path, gguf):
    path, model = tmp_path / "load.json", MODEL
    if gguf:
        model = tmp_path / "model.gguf"
        assert run("convert", MODEL, model, "--type", "q8_0").returncode == 0
    done = subprocess.run([ROOT / "bench/load", "start", model, "--dir", tmp_path, "--json", path, "--runs",
                           "1", "--idle", "0"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("machine: ")
    rows = {row["name"]: row for row in json.loads(path.read_text())["results"]}
    files = model if gguf else MODEL / "model.safetensors"
    assert rows["memory"]["MiB"] * 2**20 == files.stat().st_size and rows["memory"]["value"] > 0
    for name in ("cold_later", "cold", "warm"):
        row = rows[name]
        assert row["value"] > 0 and row["cpu"] > 0 and row["peak_MiB"] > row["anonymous_MiB"] > 0
        assert ("over_direct" in row) == ("over_direct_later" in row) == ("direct" in rows)
    assert ("direct_later" in rows) == ("direct" in rows)


def test_gguf_compares_turns_with_those_of_the_demo_model(tmp_path):
    path, model = tmp_path / "gguf.json", tmp_path / "model.gguf"
    assert run("convert", MODEL, model).returncode == 0
    done = subprocess.run([ROOT / "bench/gguf", "turns", model, "--dir", tmp_path, "--json", path],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(path.read_text())["results"]}
    for turn in range(1, 7):  # the same model
        of_file, of_demo = (rows[f"{name}, turn {turn}"] for name in ("file", "demo"))
        assert {**of_file, "name": ""} == {**of_demo, "name": ""}
        assert (of_file["value"] > 0) == (turn > 1)


def tiers(tmp_path, part, *arguments):
    """The rows of bench/tiers by name, on the demo model."""
    path = tmp_path / "tiers.json"
    done = subprocess.run([ROOT / "bench/tiers", part, MODEL, "--dir", tmp_path, "--json", path, *arguments],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("machine: ")
    assert [left for left in tmp_path.iterdir() if left != path] == [], "nothing is left behind"
    return {row["name"]: row for row in json.loads(path.read_text())["results"]}


def test_tiers_restart_finds_the_prefix_on_disk(tmp_path):
    rows = tiers(tmp_path, "restart", "--tokens", "640", "--load-policy", "load")
    for end in ("SIGTERM", "SIGKILL"):
        row = rows[f"restart_{end}"]
        assert row["cached"] == 640 and row["stored_MB"] > 0
        assert row["over_bound"] > 0 and row["cold_over_it"] > 0
        assert rows[f"read_rate_{end}"]["value"] > 0


def test_tiers_tenants_names_where_prompts_come_from(tmp_path):
    rows = tiers(tmp_path, "tenants", "--tenants", "24", "--words", "80", "--requests", "48", "--variants",
                 "none,write_through,host", "--load-policy", "load")
    assert rows["none"]["disk"] == rows["none"]["host"] == rows["none"]["disk_written_MB"] == 0
    assert rows["write_through"]["disk"] > 0 and rows["write_through"]["disk_written_MB"] > 0
    assert rows["host"]["host"] > 0 and rows["host"]["disk"] == 0


def test_tiers_decode_spills_beside_eight_answers(tmp_path):
    rows = tiers(tmp_path, "decode", "--tokens", "200")
    for name in ("host", "write_through", "both"):
        assert rows[name]["blocks_spilled"] > 0 and rows[name]["steps"] > 100
        assert 0 < rows[name]["value"] < 100


@pytest.mark.parametrize("workload", ["turns", "tenants"])
def test_every_miss_of_a_replay_has_a_reason(tmp_path, workload):
    report = tmp_path / "report.json"
    words = ["--prefix-words", "60", "--question-words", "8", "--context", "1024", "--json", report]
    done = subprocess.run(map(str, [ROOT / "bench/miss_reasons", workload, MODEL, "--dir", tmp_path, *words,
                                    "--device-cache", "2MiB"]),
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(report.read_text())["results"]}
    for run in ("run 1", "run 2"):
        shares = {name.split(": ")[1]: row["value"] for name, row in rows.items() if name.startswith(run)}
        del shares["prompt"]
        assert abs(sum(shares.values()) - 1) < 1e-9 and "unknown" not in shares, shares
    assert rows["run 1: never_seen"]["value"] > 0.1 and rows["run 2: evicted_device"]["value"] > 0.1, rows


def writers_below(folder):
    """The open files of all processes below a folder."""
    found = []
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found += [link] if os.readlink(link).startswith(f"{folder}/") else []
        except OSError:
            pass  # the process ended, or it is another user's
    return found


def test_tiers_leaves_no_daemon_after_an_error(tmp_path):
    done = subprocess.run([ROOT / "bench/tiers", "tenants", MODEL, "--dir", tmp_path, "--tenants", "4",
                           "--words", "100", "--variants", "none"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode != 0 and "context length" in done.stderr
    wait_until(lambda: not writers_below(tmp_path), "the end of the daemon, which writes its log there")
