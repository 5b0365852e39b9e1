"""Tests the life of the daemon: exit codes, readiness, drain, signals, notifications to systemd."""

import contextlib
import ctypes
import json
import mmap
import os
import pty
import re
import shutil
import signal
import socket
import subprocess

import pytest
from daemon import MODEL, PATIENCE, PROGRAM, Daemon, run, wait_until

LONG = {"prompt": "Once", "max_tokens": 3500, "ignore_eos": True}  # seconds of decoding


def test_exit_codes():
    assert run("version").returncode == 0
    assert run("validate", "--model", MODEL).returncode == 0
    serve, validate = ["serve", "--model", MODEL], ["validate", "--model", MODEL]
    for wrong in ([], ["sevre"], ["serve"], ["inspect"], [*serve, "--threads", "0"],
                  [*serve, "--disk-cache", "1GiB"], [*serve, "--quantize", "q5_0"],
                  [*serve, "--device", "-1"],
                  [*serve, "--listen", "nowhere"], [*serve, "--api-keys", "/nowhere"],
                  [*validate, "--context", "1000000"], [*validate, "--served-model-name", "\udcff"]):
        done = run(*wrong)
        assert done.returncode == 2, (wrong, done.stderr)
        assert done.stderr and not done.stdout, wrong
    for command in ("serve", "validate"):
        refused = run(command, "--model", "/nowhere")
        assert refused.returncode == 3 and "/nowhere" in refused.stderr


def test_version_and_validate_print_json():
    version = json.loads(run("version", "--json").stdout)
    backends = {b["name"]: b["runs_here"] for b in version["backends"]}
    assert backends["ref"] is True
    text = run("version").stdout
    assert f"prefixd {version['version']}\n" in text
    line = next(line for line in text.splitlines() if line.startswith("backends: "))
    assert line.split()[1:] == [name for name, here in backends.items() if here]
    plan = json.loads(run("validate", "--json", "--model", MODEL, "--device-cache", "64 MiB").stdout)
    bytes_of_blocks = plan["blocks"] * plan["block_tokens"] * plan["kv_bytes_per_token"]
    assert plan["ok"] and plan["device_cache_bytes"] == bytes_of_blocks
    assert plan["device_cache_bytes"] <= 64 << 20
    refused = json.loads(run("validate", "--json", "--model", "/nowhere").stdout)
    assert refused["ok"] is False and refused["exit_code"] == 3


def test_an_idle_daemon_stops_with_exit_code_0():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Daemon() as daemon:
            status, _, body = daemon.get("/ready")
            assert status == 200 and json.loads(body)["state"] == "serving"
            daemon.signal(number)
            assert daemon.exit_code() == 0
            assert daemon.logged("stopped")


def cached_share(path):
    """The share of the pages of a file that are in the page cache; None where the kernel does not say."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        begin = ctypes.c_char.from_buffer(mapped)
        says = ctypes.CDLL(None).mincore(ctypes.byref(begin), ctypes.c_size_t(len(mapped)), pages) == 0
        del begin  # or the mapping could not be closed
    return sum(page & 1 for page in pages) / len(pages) if says else None


def drop_from_page_cache(path):
    """Skips the test where that does not work or cannot be seen, or nothing can be read past it."""
    path.read_bytes()  # a page that is just being read stays
    if cached_share(path) != 1:
        pytest.skip("the page cache does not have the file")
    with open(path, "rb") as file:
        os.fsync(file.fileno())  # a page that is not on the disk stays
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_share(path) != 0:
        pytest.skip("the page cache keeps the file")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("the file system has no O_DIRECT")


def lengthen(path, more):
    """Adds a tensor that no model reads to a file of safetensors."""
    old = path.read_bytes()
    size = int.from_bytes(old[:8], "little")
    header, data = json.loads(old[8:8 + size]), old[8 + size:]
    header["unused"] = {"dtype": "U8", "shape": [more], "data_offsets": [len(data), len(data) + more]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data + bytes(more))


def test_a_cold_start_leaves_the_page_cache_full_for_the_next_one(tmp_path):
    """It reads past the page cache, says the same as a warm start, and fills the page cache afterwards."""
    model, words = tmp_path / "demo", "reading the weights into the page cache"
    shutil.copytree(MODEL, model)
    weights = model / "model.safetensors"
    lengthen(weights, 64 << 20)  # the kernel may read the first 8 MiB with the header
    drop_from_page_cache(weights)
    question, prints = {"prompt": "Once", "max_tokens": 8, "temperature": 0, "logprobs": 1}, []
    for cold in (True, False):
        with Daemon(model=model) as daemon:
            answer = daemon.complete(**question)
            prints.append((answer["choices"], answer["system_fingerprint"]))
            if cold:
                wait_until(lambda: cached_share(weights) == 1, "a full page cache")
            assert daemon.logged(words) == cold
            daemon.signal()
            assert daemon.exit_code() == 0
    assert prints[0] == prints[1]


def test_drain_finishes_running_requests_and_rejects_new_ones():
    with Daemon() as daemon:
        stream = daemon.start_stream(**LONG)
        daemon.signal()
        wait_until(lambda: daemon.get("/ready")[0] == 503, "/ready to answer 503")
        status, _, body = daemon.get("/ready")
        assert status == 503 and json.loads(body)["state"] == "draining"
        assert daemon.get("/health")[0] == 200
        status, headers, _ = daemon.request("POST", "/v1/completions", {"model": "demo", "prompt": "x"})
        assert status == 503 and int(headers["Retry-After"]) <= 60
        rest = stream.read().decode()
        assert rest.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in rest
        assert daemon.exit_code() == 0


def test_drain_ends_when_its_time_runs_out():
    with Daemon("--drain-seconds", 0) as daemon:
        stream = daemon.start_stream(**LONG)
        daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("drain-seconds ran out")
        stream.close()


def test_a_second_signal_stops_at_once():
    with Daemon() as daemon:
        stream = daemon.start_stream(**LONG)
        daemon.signal()
        wait_until(lambda: daemon.logged("draining"), "the log line 'draining'")
        daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("second signal")
        stream.close()


def test_systemd_is_notified_of_start_watchdog_and_stop(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        with Daemon(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}) as daemon:
            messages = ""
            while messages.count("WATCHDOG=1") < 3:
                messages += notify.recv(4096).decode() + "\n"
            assert messages.index("READY=1") < messages.index("WATCHDOG=1")
            os.kill(daemon.process.pid, signal.SIGTERM)
            while "STOPPING=1" not in messages:
                messages += notify.recv(4096).decode() + "\n"
            assert daemon.exit_code() == 0


def test_a_unix_socket_is_served_and_removed(tmp_path):
    path = tmp_path / "prefixd.sock"
    with Daemon(listen=f"unix:{path}") as daemon:
        assert daemon.url == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        daemon.signal()
        assert daemon.exit_code() == 0
    assert not path.exists()


def test_the_error_names_a_port_in_use():
    with Daemon() as daemon:
        other = run("serve", "--model", MODEL, "--listen", daemon.url.removeprefix("http://"))
        assert other.returncode == 1 and daemon.url.rsplit(":", 1)[1] in other.stderr


def test_ready_answers_503_until_the_daemon_is_ready():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Daemon(listen=f"127.0.0.1:{port}", wait=False) as daemon:
        daemon.url = f"http://127.0.0.1:{port}"
        seen = []

        def ready():
            try:
                seen.append(daemon.get("/ready")[0])
            except ConnectionRefusedError:
                return False
            return seen[-1] == 200

        wait_until(ready, "/ready to answer 200")
        assert set(seen[:-1]) <= {503}


def test_a_terminal_shows_a_bar_while_the_weights_load():
    leader, follower = pty.openpty()
    arguments = [PROGRAM, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--device-cache", "64MiB"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=follower, text=True) as process:
        os.close(follower)
        assert process.stdout.readline().startswith("listening on ")
        process.terminate()
        drawn = b""
        with contextlib.suppress(OSError):  # the end of what a terminal shows
            while part := os.read(leader, 1 << 16):
                drawn += part
        os.close(leader)
        assert process.wait(PATIENCE) == 0
    bars = list(re.finditer(rb"\[#* *\] +\d+ %  [^\r\n]+ of [^\r\n]+\x1b\[K\r", drawn))
    loaded = drawn.index(b"model loaded")
    assert bars and bars[-1].end() < loaded, drawn
    # The line is empty before anything else is logged.
    assert drawn[bars[-1].end():].startswith(b"\x1b[K"), drawn
    assert b"loading weights" not in drawn


def test_log_as_json():
    environment = {"PREFIXD_LOG": "debug", "PREFIXD_STRANGE": "1"}
    with Daemon("--log-format", "json", environment=environment) as daemon:
        daemon.signal()
        assert daemon.exit_code() == 0
        lines = [json.loads(line) for line in daemon.log if line is not None]
        assert any(line["level"] == "warning" and "PREFIXD_STRANGE" in line["message"] for line in lines)
        assert any(line["message"] == "model loaded" and line["threads"] >= 1 for line in lines)
