"""TLS: what openssl's client may do and what not, handshakes that do not end, new certificates by SIGHUP.

PREFIXD_TEST_TLS=1 lets any other file of this folder run over TLS; one of them does so here.
"""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from daemon import MODEL, PATIENCE, Daemon, make_certificate, run, wait_until

HANDSHAKE_SECONDS = 10  # the limit tls-handshake-seconds


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "first")


@pytest.fixture(scope="module")
def daemon(pair):
    with Daemon(tls=pair) as started:
        assert started.url.startswith("https://127.0.0.1:")
        yield started


def port_of(daemon):
    return int(daemon.url.rsplit(":", 1)[1])


def client(daemon, *arguments, text=""):
    """Runs `openssl s_client`, which sends the text. Returns (exit code, all of its output)."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(daemon)}", "-CAfile",
                           daemon.certificate, "-verify_return_error", "-verify_ip", "127.0.0.1", *arguments],
                          input=text, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


GET = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_later_versions_are_taken(daemon, version):
    code, text = client(daemon, f"-tls{version}", "-ign_eof", text=GET)
    assert code == 0 and "Verify return code: 0 (ok)" in text and "HTTP/1.1 200 OK" in text, text
    assert "Compression: NONE" in text and f"TLSv{version.replace('_', '.')}" in text


@pytest.mark.parametrize("arguments", [("-tls1",), ("-tls1_1",)], ids=["1.0", "1.1"])
def test_earlier_versions_are_refused(daemon, arguments):
    code, text = client(daemon, *arguments, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0 and "Cipher is (NONE)" in text, text


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA",
                                    "ECDHE-ECDSA-AES256-SHA384", "NULL", "aNULL", "DES-CBC3-SHA"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(daemon, cipher):
    code, text = client(daemon, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert code != 0 and "Cipher is ECDHE" not in text, text


def test_renegotiation_is_refused(daemon):
    code, text = client(daemon, "-tls1_2", text="R\n" + GET)
    assert "RENEGOTIATING" in text and "no renegotiation" in text.lower(), text


def test_what_is_no_tls_gets_no_answer(daemon):
    for sent in (GET.encode(), b"\x16\x03\x01\xff\xff", os.urandom(100)):
        with socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=PATIENCE) as plain:
            plain.sendall(sent)
            plain.shutdown(socket.SHUT_WR)
            assert b"HTTP/" not in plain.recv(1000)
    assert daemon.get("/health")[0] == 200


def test_answers_are_those_without_tls(daemon):
    prompt = "a b c " * 4000  # above what an io thread reads itself
    with Daemon(tls=None) as plain:
        fields = {"prompt": prompt[:200], "max_tokens": 20, "seed": 1}
        expected = plain.complete(**fields)["choices"]
        assert daemon.complete(**fields)["choices"] == expected
        long = {"prompt": prompt, "max_tokens": 1, "truncate_prompt_tokens": 50}
        assert daemon.complete(**long)["choices"] == plain.complete(**long)["choices"]
    stream = daemon.start_stream(**fields)
    events = (stream.first + stream.read().decode()).split("\n\n")
    assert events[-2] == "data: [DONE]"
    text = "".join(json.loads(event[6:])["choices"][0]["text"] for event in events[:-2])
    assert text == expected[0]["text"]


def running(daemon):
    return sum(value for (name, _), value in daemon.metrics().items() if name == "vllm:num_requests_running")


@pytest.mark.parametrize("polite", [True, False])
def test_a_client_that_leaves_cancels_its_request(daemon, polite):
    trust = ssl.create_default_context(cafile=daemon.certificate)
    raw = socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=PATIENCE)
    secure = trust.wrap_socket(raw, server_hostname="127.0.0.1")
    body = json.dumps({"prompt": "a", "max_tokens": 400, "ignore_eos": True, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    secure.sendall(head.encode() + body)
    assert b"200 OK" in secure.recv(1000)
    if polite:
        secure.settimeout(0.1)
        try:
            secure.unwrap()
        except (OSError, ValueError):
            pass  # events were under way
    secure.close()
    wait_until(lambda: running(daemon) == 0, "the cancellation")


def test_handshakes_that_do_not_end_are_bounded(pair):
    """In number, a quarter of the connections and one, and in time."""
    with Daemon("--max-connections", 8, tls=pair) as daemon:
        address = ("127.0.0.1", port_of(daemon))
        begun = time.monotonic()
        slow = [socket.create_connection(address, timeout=PATIENCE) for _ in range(3)]
        slow[1].sendall(b"\x16")
        slow[2].sendall(b"\x16\x03\x01\x02\x00\x01")
        with socket.create_connection(address, timeout=PATIENCE) as refused:
            assert refused.recv(1) == b""
        assert time.monotonic() - begun < HANDSHAKE_SECONDS / 2
        for connection in slow:
            try:
                while connection.recv(100):
                    pass
            except ConnectionResetError:
                pass
        assert HANDSHAKE_SECONDS * 0.9 < time.monotonic() - begun < HANDSHAKE_SECONDS * 3
        assert daemon.get("/health")[0] == 200


def subject(daemon):
    return client(daemon, text="")[1].split("subject=")[1].split("\n")[0]


def test_a_certificate_changes_under_load_and_a_broken_one_changes_nothing(tmp_path):
    certificate, key = tmp_path / "now.pem", tmp_path / "now.key"

    def place(pair):
        certificate.write_bytes(pathlib.Path(pair[0]).read_bytes())
        key.write_bytes(pathlib.Path(pair[1]).read_bytes())

    def reload(words):
        before = sum(words in (line or "") for line in daemon.log)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: sum(words in (line or "") for line in daemon.log) > before, words)
    one, two = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "two")
    both = tmp_path / "both.pem"
    both.write_bytes(one[0].read_bytes() + two[0].read_bytes())
    place(one)
    with Daemon(tls=(certificate, key)) as daemon:
        daemon.certificate = both
        stop, codes = threading.Event(), []
        body = {"model": "demo", "prompt": "a", "max_tokens": 2}

        def load():
            while not stop.is_set():
                codes.append(daemon.request("POST", "/v1/completions", body)[0])
        thread = threading.Thread(target=load)
        thread.start()
        held = daemon.connect()
        held.request("GET", "/health")
        assert held.getresponse().read()
        assert "one" in subject(daemon)
        place(two)
        reload("reloaded changed=tls-cert")
        assert "two" in subject(daemon)
        key.write_bytes(one[1].read_bytes())
        reload("reload refused; nothing has changed")
        assert "two" in subject(daemon), "the old one stays"
        assert json.loads(daemon.get("/ready")[2])["checks"]["configuration"].startswith("failed: ")
        certificate.write_text("no certificate")
        reload("reload refused; nothing has changed")
        place(one)
        reload("reloaded changed=tls-cert")
        assert "one" in subject(daemon)
        assert json.loads(daemon.get("/ready")[2])["checks"]["configuration"] == "ok"
        held.request("GET", "/health")
        assert held.getresponse().status == 200, "an open connection goes on"
        stop.set()
        thread.join(PATIENCE)
        assert codes and set(codes) == {200}
        assert not any("PRIVATE KEY" in (line or "") for line in daemon.log)


def test_wrong_files_are_refused_at_start(pair, tmp_path):
    certificate, key = pair
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:word", "-out", locked],
                   check=True, capture_output=True)
    other = make_certificate(tmp_path, "other")[1]
    for arguments, words in ((("--tls-cert", certificate), "tls-cert: give tls-key as well"),
                             (("--tls-key", key), "tls-key: give tls-cert as well"),
                             (("--tls-cert", "/none", "--tls-key", key), "tls-cert: '/none'"),
                             (("--tls-cert", certificate, "--tls-key", certificate), "tls-key: "),
                             (("--tls-cert", certificate, "--tls-key", locked), "without a passphrase"),
                             (("--tls-cert", certificate, "--tls-key", other), "key values mismatch"),
                             (("--tls-cert", certificate, "--tls-key", key, "--listen", f"unix:{tmp_path}/s"),
                              "a Unix socket takes no TLS")):
        done = run("validate", "--model", MODEL, *arguments)
        assert done.returncode == 2 and words in done.stderr, (arguments, done.stderr)


def test_tests_of_the_api_pass_over_tls():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           pathlib.Path(__file__).with_name("openai_test.py")],
                          env={**os.environ, "PREFIXD_TEST_TLS": "1"}, capture_output=True, text=True,
                          timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stdout
