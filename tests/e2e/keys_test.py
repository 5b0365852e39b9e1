"""API keys: the file, `prefixd keys hash`, reloads under load, and keys of clients that are anything at all.

PREFIXD_KEY_REQUESTS=10000 sends as many requests with keys that are random, cut off, long or not ASCII.
"""

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading

import pytest

from daemon import MODEL, PATIENCE, PROGRAM, Daemon, reloaded, run, wait_until

REQUESTS = int(os.environ.get("PREFIXD_KEY_REQUESTS", "400"))
SECRET = "sk-live-0123456789abcdef"


def hash_key(*arguments, key=""):
    return subprocess.run([PROGRAM, "keys", "hash", *arguments], input=key, capture_output=True, text=True,
                          timeout=PATIENCE)


def status(daemon, key, path="/v1/models"):
    return daemon.request("GET", path, headers={"Authorization": f"Bearer {key}"})[0]


def configuration(daemon):
    return json.loads(daemon.get("/ready")[2])["checks"]["configuration"]


def count(daemon, words):
    return sum(words in (line or "") for line in daemon.log)


def reload(daemon, words):
    before = count(daemon, words)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: count(daemon, words) > before, words)


def test_keys_hash_makes_entries():
    done = hash_key(key=SECRET + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()} rights=generate\n"
    done = hash_key("--tenant", "alice", "--rights", "admin,generate", key=SECRET)
    assert done.stdout.endswith(" tenant=alice rights=generate,admin\n")
    drawn = [hash_key("--new", "--tenant", "alice") for _ in range(2)]
    keys = [done.stderr.split()[-1] for done in drawn]
    assert len(set(keys)) == 2 and all(len(key) == 67 for key in keys)
    for done, key in zip(drawn, keys):
        assert done.stdout.startswith(f"sha256:{hashlib.sha256(key.encode()).hexdigest()} tenant=alice ")
    for arguments, key, words in (
            ((), "short", "of at least 16"), ((), "", "of at least 16"),
            ((), "two words of a key", "has blanks"),
            (("--tenant", "a/b"), SECRET, "the name of a tenant"),
            (("--rights", "all"), SECRET, "rights are generate, admin")):
        done = hash_key(*arguments, key=key)
        assert done.returncode == 2 and words in done.stderr and not done.stdout, done
    assert "prefixd keys hash" in run("keys", "show").stderr


def test_without_keys_only_this_machine_may_ask(tmp_path):
    for listen in ("0.0.0.0:0", "[::]:0"):
        done = run("validate", "--model", MODEL, "--listen", listen)
        assert done.returncode == 2, done.stdout
        reached = f"listen: others than this machine can reach {listen}"
        for words in (reached, "--api-keys", "--allow-no-keys"):
            assert words in done.stderr, done.stderr
        assert run("validate", "--model", MODEL, "--listen", listen, "--allow-no-keys").returncode == 0
    keys = tmp_path / "keys"
    keys.write_text(SECRET + "\n")
    assert run("validate", "--model", MODEL, "--listen", "0.0.0.0:0", "--api-keys", keys).returncode == 0
    assert run("validate", "--model", MODEL, "--listen", f"unix:{tmp_path}/socket").returncode == 0


def test_keys_change_under_load_and_a_broken_file_changes_nothing(tmp_path):
    keys = tmp_path / "keys"
    entry = hash_key("--tenant", "alice", key=SECRET).stdout
    keys.write_text(f"sk-stays\n{entry}")
    with Daemon("--api-keys", keys) as daemon:
        assert (status(daemon, SECRET), status(daemon, "sk-new")) == (200, 401)
        assert configuration(daemon) == "ok"
        stop, codes = threading.Event(), []

        def load():
            while not stop.is_set():
                body = {"model": "demo", "prompt": "a", "max_tokens": 2}
                codes.append(daemon.request("POST", "/v1/completions", body, {"x-api-key": "sk-stays"})[0])
        thread = threading.Thread(target=load)
        thread.start()
        for round in range(3):
            keys.write_text("sk-stays\nsk-new\n")
            reload(daemon, reloaded("api-keys"))
            assert (status(daemon, SECRET), status(daemon, "sk-new")) == (401, 200)
            keys.write_text(f"sk-stays\n{entry}{entry.strip()} quota=1\n")
            reload(daemon, "reload refused; nothing has changed")
            assert (status(daemon, SECRET), status(daemon, "sk-new")) == (401, 200), "the old ones stay"
            ready = json.loads(daemon.get("/ready")[2])
            assert ready["ready"] and ready["state"] == "degraded"
            assert ready["checks"]["configuration"].startswith("failed: the last reload was refused")
            keys.write_text(f"sk-stays\n{entry}")
            reload(daemon, reloaded("api-keys"))
            assert (status(daemon, SECRET), status(daemon, "sk-new")) == (200, 401)
            assert configuration(daemon) == "ok"
        stop.set()
        thread.join(PATIENCE)
        assert codes and set(codes) == {200}
        log = "\n".join(line or "" for line in daemon.log)
        assert "line 3: a field of an entry is" in log
        for secret in ("sk-stays", "sk-new", SECRET, entry.split()[0].removeprefix("sha256:")):
            assert secret not in log


def test_limits_of_a_tenant_change_by_a_reload_and_its_figures_are_exact(tmp_path):
    keys, admin = tmp_path / "keys", "sk-admin-0123456789abcdef"
    others = hash_key("--rights", "admin", key=admin).stdout

    def write(tokens):
        limits = ("--requests-per-minute", "1000", "--tokens-per-minute", str(tokens))
        keys.write_text(hash_key("--tenant", "alice", *limits, key=SECRET).stdout + others)
    write(10**9)
    with Daemon("--api-keys", keys) as daemon:
        draw, used, sent = random.Random(1), 0, 0

        def ask(**fields):
            body = {"prompt": [draw.randrange(3, 1000) for _ in range(draw.randrange(1, 60))], **fields}
            return daemon.request("POST", "/v1/completions", body, {"x-api-key": SECRET})
        for _ in range(20):
            code, headers, text = ask(max_tokens=draw.randrange(1, 8), n=draw.randrange(1, 3))
            assert code == 200, text
            used += json.loads(text)["usage"]["total_tokens"]
            sent += 1
            assert headers["x-ratelimit-limit-requests"] == "1000"
            assert int(headers["x-ratelimit-remaining-tokens"]) <= 10**9
        write(60)
        reload(daemon, reloaded("api-keys"))
        codes = [ask(max_tokens=1) for _ in range(5)]
        refused = [headers for code, headers, _ in codes if code == 429]
        assert refused and all(1 <= int(headers["Retry-After"]) <= 60 for headers in refused)
        assert all(headers["x-ratelimit-limit-tokens"] == "60" for _, headers, _ in codes)
        used += sum(json.loads(text)["usage"]["total_tokens"] for code, _, text in codes if code == 200)
        metrics = daemon.request("GET", "/metrics", headers={"x-api-key": admin})[2]
        text = metrics if isinstance(metrics, str) else metrics.decode()
        for line in (f'prefixd_tenant_requests_total{{tenant="alice"}} {sent + 5}',
                     f'prefixd_tenant_tokens_total{{tenant="alice"}} {used}',
                     f'prefixd_rate_limited_requests_total{{limit="tokens"}} {len(refused)}'):
            assert line in text, text
        public = daemon.request("GET", "/metrics")[2]
        assert "alice" not in (public if isinstance(public, str) else public.decode())


def test_quotas_and_shares_change_under_load_without_a_failed_request(tmp_path):
    keys = tmp_path / "keys"

    def write(*fields):
        keys.write_text("sk-other\n" + hash_key("--tenant", "alice", key=SECRET).stdout.strip() + " " +
                        " ".join(fields) + "\n")
    write("requests-per-minute=1000000")
    with Daemon("--api-keys", keys) as daemon:
        stop, codes = threading.Event(), {"sk-other": [], SECRET: []}

        def load(key):
            draw = random.Random(key)
            while not stop.is_set():
                body = {"prompt": [draw.randrange(3, 1000) for _ in range(40)], "max_tokens": 3}
                codes[key].append(daemon.request("POST", "/v1/completions", body, {"x-api-key": key})[0])
        threads = [threading.Thread(target=load, args=(key,)) for key in [*codes] * 2]
        for thread in threads:
            thread.start()
        for limit in (900000, 800000):
            write(f"requests-per-minute={limit}", f"tokens-per-minute={10**8 + limit}", "weight=3",
                  "guaranteed-device-cache=64KiB", "max-device-cache=1MiB")
            reload(daemon, reloaded("api-keys"))
            body = {"prompt": "a", "max_tokens": 1}
            headers = daemon.request("POST", "/v1/completions", body, {"x-api-key": SECRET})[1]
            assert headers["x-ratelimit-limit-requests"] == str(limit)
            assert headers["x-ratelimit-limit-tokens"] == str(10**8 + limit)
            write("requests-per-minute=1", "guaranteed-device-cache=900GiB")  # it cannot give that
            reload(daemon, "reload refused; nothing has changed")
            assert configuration(daemon).startswith("failed: ")
            headers = daemon.request("POST", "/v1/completions", body, {"x-api-key": SECRET})[1]
            assert headers["x-ratelimit-limit-requests"] == str(limit), "the old ones stay"
        write()
        reload(daemon, reloaded("api-keys"))
        assert configuration(daemon) == "ok"
        assert "x-ratelimit-limit-requests" not in daemon.request("POST", "/v1/completions", body,
                                                                  {"x-api-key": SECRET})[1]
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        for each in codes.values():
            assert len(each) > 10 and set(each) == {200}


def hostile(random, valid):
    """A key as bytes, and whether it is one of the valid ones."""
    key = random.choice(valid).encode()
    kind = random.randrange(7)
    if kind == 0:
        return key, True
    if kind == 1:
        return key[:random.randrange(len(key))], False
    if kind == 2:
        return key + random.choice([key, b"x", b"\xff", b"\x80" * 9]), False
    if kind == 3:
        visible = [*range(33, 127), *range(128, 256)]
        return bytes(random.choices(visible, k=random.randrange(1, 200))), False
    if kind == 4:
        return "schlüssel-鍵-🔑".encode() * random.randrange(1, 9), False
    if kind == 5:
        return bytes([random.randrange(33, 127)]) * random.randrange(1000, 30000), False
    at = random.randrange(len(key))
    return key[:at] + bytes([key[at] ^ 1]) + key[at + 1:], False


def test_any_key_is_right_or_refused_and_none_is_logged(tmp_path):
    keys = tmp_path / "keys"
    hashed = "sk-hashed-0123456789abcdef"
    keys.write_text(SECRET + "\n" + hash_key("--tenant", "alice", key=hashed).stdout)
    draw = random.Random(23)
    with Daemon("--api-keys", keys, "--log-level", "debug") as daemon:
        lines = len(daemon.log)
        connection, seen = daemon.connect(), set()
        for number in range(REQUESTS):
            key, right = hostile(draw, [SECRET, hashed])
            header = draw.choice(["Authorization", "x-api-key"])
            post = number % 20 == 0  # an answer is generated, or is not
            connection.putrequest("POST" if post else "GET", "/v1/completions" if post else "/v1/models")
            connection.putheader(header, (b"Bearer " if header == "Authorization" else b"") + key)
            body = json.dumps({"prompt": "a", "max_tokens": 1}).encode() if post else b""
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            text = response.read()
            assert response.status == (200 if right else 401), (number, key, text)
            assert key not in text or right or len(key) < 12
            seen.add((right, post))
            if response.will_close:
                connection.close()
                connection = daemon.connect()
        assert len(seen) == 4
        daemon.signal()
        assert daemon.exit_code() == 0
        log = "\n".join(line or "" for line in daemon.log[lines:])
        for secret in (SECRET, hashed, SECRET[:12], "schlüssel", "\\xff"):
            assert secret not in log


def test_a_header_that_is_too_long_is_refused_before_its_key_is_looked_at(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(SECRET + "\n")
    with Daemon("--api-keys", keys) as daemon:
        connection = daemon.connect()
        try:
            connection.request("GET", "/v1/models", headers={"x-api-key": "k" * 100_000})
            assert connection.getresponse().status == 431
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            pytest.fail("the refusal was not sent")
        assert status(daemon, SECRET) == 200
