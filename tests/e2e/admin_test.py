"""The admin listener, and `prefixd inspect --live`, which asks it."""

import http.client
import json
import os
import random
import resource
import socket
import stat
import subprocess
import time

import pytest
from daemon import MODEL, PATIENCE, PROGRAM, ROOT, Daemon, run, wait_until

SMALL = "512KiB"  # a device cache of some blocks


def tokens(count, seed):
    return random.Random(seed).choices(range(10, 1900), k=count)


@pytest.fixture(name="address", scope="module")
def fixture_address(tmp_path_factory):
    return f"unix:{tmp_path_factory.mktemp('admin')}/admin"


@pytest.fixture(name="daemon", scope="module")
def fixture_daemon(address):
    with Daemon("--admin-listen", address) as daemon:
        yield daemon


def live(address, *words, code=0, **more):
    done = run("inspect", "--live", address, *words, **more)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout


def document(address, *words, code=0):
    answer = json.loads(live(address, "--json", *words, code=code))
    assert answer["schema"] == 1
    return answer


def tcp_address(daemon):
    """The address of an admin listener with a port of its own."""
    line = next(line for line in daemon.log if line and "the admin listener answers" in line)
    return line.rsplit("http://", 1)[1]


def get(address, path, headers=None, method="GET"):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def test_the_status_is_that_of_the_metrics(daemon, address):
    for _ in range(3):
        daemon.complete(prompt=tokens(100, 1), max_tokens=2)
    status = document(address)
    samples = daemon.metrics()
    assert status["ready"] and status["state"] == "serving"
    assert status["checks"] == json.loads(daemon.get("/ready")[2])["checks"]
    assert status["model"] == "demo" and status["backend"] and status["uptime_seconds"] >= 0
    assert status["config"]["admin-listen"] == address
    assert status["version"] == json.loads(run("version", "--json").stdout)["version"]
    device = status["tiers"]["device"]
    assert list(status["tiers"]) == ["device"]
    for state in ("leased", "cached", "free"):
        assert device[f"{state}_blocks"] == samples["prefixd_blocks", (("state", state), ("tier", "device"))]
    assert device["capacity_bytes"] == samples["prefixd_tier_capacity_bytes", (("tier", "device"),)]
    assert status["requests"] == {"running": 0, "waiting": 0}
    top = status["prefixes"]["rows"][0]
    assert top["tokens"] == 96 and top["hits"] == 2 and top["tiers"] == ["device"]
    assert abs(top["last_use"] - time.time()) < PATIENCE


def test_the_rates_are_those_of_the_last_minutes(daemon, address):
    daemon.complete(prompt=tokens(64, 2), max_tokens=8)
    wait_until(lambda: document(address)["rates"]["seconds"] > 0, "a sample")
    daemon.complete(prompt=tokens(64, 2), max_tokens=8)
    rates = document(address)["rates"]
    assert rates["decode_tokens_per_second"] > 0 and rates["requests_per_second"] > 0
    assert 0 < rates["cached_share"] < 1 and rates["ttft_p95_seconds"] > 0


def test_the_text_has_the_first_screen(daemon, address):
    daemon.complete(prompt=tokens(100, 1), max_tokens=2)
    text = live(address)
    for words in ("serving:", "model demo on", "device ok", "capacity, blocks", "running, 0 waiting",
                  "of prompt tokens cached", "prefixes that saved most", f"admin-listen={address}"):
        assert words in text, text
    assert "\x1b" not in text


def test_a_miss_is_explained(daemon, address):
    prompt = tokens(120, 3)
    daemon.complete(prompt=prompt, max_tokens=1)
    prompt[70] = prompt[70] % 1800 + 11
    again = daemon.complete(prompt=prompt, max_tokens=1)
    name = again["headers"]["x-request-id"]
    assert int(again["headers"]["x-prefixd-cached-tokens"]) == 70
    (request,) = document(address, "request", name)["requests"]
    assert request["id"] == name and request["prompt_tokens"] == 120
    miss = request["first_miss"]
    assert (miss["token"], miss["block"], miss["reason"]) == (70, 4, "never_seen")
    assert request["sources"] == {"computed": 50, "device": 70}
    assert sum(request["miss_tokens"].values()) == 50
    text = live(address, "request", name)
    assert "leaves the cache at token 70, in block 4" in text and "never_seen" in text
    assert document(address, "requests")["requests"][0]["id"] == name
    assert name in live(address, "requests")


def test_every_choice_is_a_request(daemon, address):
    daemon.request("POST", "/v1/completions",
                   {"model": "demo", "prompt": tokens(40, 4), "max_tokens": 1, "n": 3},
                   {"x-request-id": "a/b%c?d"})
    wait_until(lambda: len(document(address, "request", "a/b%c?d")["requests"]) == 3, "three choices")


def test_an_evicted_block_has_its_tier_and_time(tmp_path):
    address = f"unix:{tmp_path}/admin"
    with Daemon("--admin-listen", address, "--context", 256, device_cache=SMALL) as daemon:
        daemon.complete(prompt=tokens(96, 5), max_tokens=1)
        evicted = "prefixd_tier_evictions_total", (("tier", "device"),)
        for seed in range(6, 200):
            daemon.complete(prompt=tokens(96, seed), max_tokens=1)
            if daemon.metrics()[evicted] > 12:
                break
        answer = daemon.complete(prompt=tokens(96, 5), max_tokens=1)
        (request,) = document(address, "request", answer["headers"]["x-request-id"])["requests"]
        miss = request["first_miss"]
        assert miss["reason"] == "evicted_device" and miss["tiers"] == []
        assert 0 < miss["lost"] <= time.time() + 1 and miss["last_use"] <= miss["lost"] + 1
        assert "The device cache evicted the block" in request["explanation"]


def test_documents_have_no_text(daemon, address):
    secret = "xylophone marmalade"
    answer = daemon.complete(prompt=secret * 20, max_tokens=4)
    wait_until(lambda: document(address, "requests")["requests"][0]["id"]
               == answer["headers"]["x-request-id"], "the request")
    for words in ([], ["requests"], ["request", answer["headers"]["x-request-id"]]):
        for text in (live(address, *words), json.dumps(document(address, *words))):
            assert "xylophone" not in text and "marmalade" not in text


def test_ready_is_an_exit_code(daemon, address, tmp_path):
    assert document(address, "ready")["ready"]
    assert live(address, "ready").startswith("serving:")
    gone = run("inspect", "--live", f"unix:{tmp_path}/none", "ready")
    assert gone.returncode == 1 and "no answer from" in gone.stderr
    gone = run("inspect", "--live", f"unix:{tmp_path}/none", "--json", "ready")
    assert gone.returncode == 1 and json.loads(gone.stdout)["exit_code"] == 1


def test_a_request_that_is_not_known_is_a_failure(daemon, address):
    done = run("inspect", "--live", address, "request", "req_none")
    assert done.returncode == 1 and "None of the last 256 requests" in done.stderr
    assert "None of the last" in json.loads(live(address, "--json", "request", "x", code=1))["error"]


def test_no_color_is_honoured_on_a_terminal(daemon, address):
    def on_terminal(**more):
        leader, follower = os.openpty()
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        with subprocess.Popen([PROGRAM, "inspect", "--live", address, "ready"], stdout=follower,
                              env={**environment, "TERM": "xterm", **more}) as process:
            assert process.wait(PATIENCE) == 0
        os.close(follower)
        text = os.read(leader, 4096).decode()
        os.close(leader)
        return text
    assert "\x1b[32m" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in on_terminal(TERM="dumb")


def test_watch_asks_again(daemon, address):
    with subprocess.Popen([PROGRAM, "inspect", "--live", address, "--json", "--watch=1", "ready"],
                          stdout=subprocess.PIPE, text=True) as process:
        documents = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
    assert all(document["ready"] for document in documents)


def test_the_socket_is_for_owner_and_group_and_goes_at_the_end(tmp_path):
    path = tmp_path / "admin"
    with Daemon("--admin-listen", f"unix:{path}") as daemon:
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
        daemon.signal()
        assert daemon.exit_code() == 0
    assert not path.exists()


def test_hosts_methods_and_paths_of_a_tcp_listener():
    with Daemon("--admin-listen", "127.0.0.1:0") as daemon:
        address = tcp_address(daemon)
        assert get(address, "/admin/status")[0] == 200
        assert json.loads(live(address, "--json", "ready"))["ready"]
        assert json.loads(live("http://" + address, "--json", "ready"))["ready"]
        for host in ("attacker.example", "127.0.0.1.attacker.example:80"):
            status, body = get(address, "/admin/status", {"Host": host})
            assert status == 403 and "host_not_allowed" in body
        wait_until(lambda: daemon.logged("was refused for its Host"), "the log line of the refusal")
        assert get(address, "/admin/status", method="POST")[0] == 405
        assert get(address, "/v1/models")[0] == 404
        assert daemon.get("/admin/status")[0] == 404, "the first listener has no admin routes"


def test_streams_of_the_status_are_few_and_end_with_their_clients():
    with Daemon("--admin-listen", "127.0.0.1:0") as daemon:
        host, port = tcp_address(daemon).split(":")
        clients = []
        for _ in range(8):
            client = socket.create_connection((host, int(port)), timeout=PATIENCE)
            client.sendall(b"GET /admin/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            clients.append(client)
        status, body = get(f"{host}:{port}", "/admin/events")
        assert status == 503 and "too_many_streams" in body
        assert get(f"{host}:{port}", "/admin/status")[0] == 200, "there are connections for others"
        for client in clients:
            client.close()

        def has_room():
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
                client.sendall(b"GET /admin/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return client.recv(12) == b"HTTP/1.1 200"
        wait_until(has_room, "a place for a stream")
        assert daemon.metrics()["prefixd_admin_streams_dropped_total", ()] == 0


def test_slow_readers_of_the_streams_are_refused_or_bounded():
    count = int(os.environ.get("PREFIXD_SLOW_READERS", "300"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1024), hard))
    with Daemon("--admin-listen", "127.0.0.1:0") as daemon:
        host, port = tcp_address(daemon).split(":")
        before = daemon.metrics()
        clients = []
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect((host, int(port)))
            client.sendall(b"GET /admin/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(client)
        daemon.complete(prompt=tokens(40, 1), max_tokens=1)
        heads = []
        for client in clients:
            try:
                heads.append(client.recv(12))
            except ConnectionResetError:
                heads.append(b"")
        assert heads.count(b"HTTP/1.1 200") <= 8, "streams"
        assert set(heads) <= {b"HTTP/1.1 200", b"HTTP/1.1 503", b""}
        after = daemon.metrics()
        assert after["process_open_fds", ()] - before["process_open_fds", ()] < 16 + 8
        resident = "process_resident_memory_bytes", ()
        assert after[resident] - before[resident] < 64 << 20
        for client in clients:
            client.close()
        wait_until(lambda: answers(f"{host}:{port}"), "the admin listener to answer again")


def answers(address):
    try:
        return get(address, "/admin/status")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_drain_is_a_post_that_only_its_own_page_sends():
    own = {"Content-Type": "application/json", "X-Prefixd-Action": "1"}
    with Daemon("--admin-listen", "127.0.0.1:0") as daemon:
        address = tcp_address(daemon)
        for headers, status in (({}, 403), ({**own, "Origin": "http://attacker.example"}, 403),
                                ({**own, "Content-Type": "text/plain"}, 415),
                                ({**own, "Host": "attacker.example"}, 403)):
            assert get(address, "/admin/drain", headers, "POST")[0] == status, headers
        assert get(address, "/admin/drain", own)[0] == 405
        assert daemon.get("/ready")[0] == 200
        status, body = get(address, "/admin/drain", {**own, "Origin": f"http://{address}"}, "POST")
        assert status == 200 and "drains" in json.loads(body)["done"]
        assert daemon.exit_code() == 0


def test_keys_protect_it(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# first\nsk-one\nsk-two\n")
    with Daemon("--admin-listen", "0.0.0.0:0", "--api-keys", keys) as daemon:
        port = tcp_address(daemon).rsplit(":", 1)[1]
        address = f"127.0.0.1:{port}"
        assert get(address, "/admin/status")[0] == 401
        assert get(address, "/admin/ready")[0] == 200
        assert "requires an API key" in run("inspect", "--live", address).stderr
        assert document(address, "--key-file", str(keys))["ready"]


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.7:9"])
def test_without_keys_others_must_not_reach_it(listen):
    done = run("serve", "--model", MODEL, "--admin-listen", listen)
    assert done.returncode == 2
    assert "admin-listen: others than this machine can reach" in done.stderr
    assert "--api-keys" in done.stderr


def test_an_address_in_use_names_the_option(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--model", MODEL, "--listen", "127.0.0.1:0",
                   "--admin-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1 and "choose another address with --admin-listen" in done.stderr


def test_what_answers_may_be_something_else(tmp_path):
    path = str(tmp_path / "other")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        for answer in (b"SSH-2.0\r\n", head + b"[]", head + b'{"schema": 9}', b""):
            with subprocess.Popen([PROGRAM, "inspect", "--live", f"unix:{path}"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) as process:
                connection, _ = server.accept()
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()
                _, error = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1 and error.startswith("prefixd: "), (answer, error)


def test_the_program_that_measures_scrapes_runs(tmp_path):
    report = tmp_path / "report.json"
    words = ["--scrapes", "5", "--rounds", "1", "--seconds", "0.1", "--rest", "0.1", "--json", report]
    done = subprocess.run([ROOT / "bench/scrape_cost", MODEL, *words], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row["value"] for row in json.loads(report.read_text())["results"]}
    assert list(rows) == ["scrape", "status", "scraped", "noise"]
    assert rows["scraped"] > 0 and rows["noise"] > 0
