"""Tests what clients and pages see of HTTP itself: half-closed connections, codings, request ids, CORS."""

import gzip
import json
import socket
import zlib

import pytest

from daemon import Daemon, run, MODEL, TLS, wait_until
from raw_client import connect, exchange, read_response, read_to_end, request_bytes

SHORT = {"prompt": "The cache", "max_tokens": 4, "temperature": 0}
LONG = {"prompt": "Once", "max_tokens": 3500, "ignore_eos": True}
RUNNING = ("vllm:num_requests_running", (("model_name", "demo"),))
PAGE = "https://chat.example.org"


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as started:
        yield started


@pytest.fixture(scope="module")
def open_daemon(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("sk-test\n")
    with Daemon("--api-keys", keys, "--max-queue", 1, "--max-sequences", 1, "--cors-origin",
                f"{PAGE}, http://localhost:3000,https://Upper.example:443") as started:
        yield started


plain_only = pytest.mark.skipif(TLS is not None, reason="Python's TLS cannot read after it has ended sending")


def half_closed(daemon, fields, path="/v1/completions"):
    sock = connect(daemon)
    sock.sendall(request_bytes(path, fields))
    sock.shutdown(socket.SHUT_WR)
    return sock


@plain_only
@pytest.mark.parametrize("max_tokens", [1, 40, 1500])
def test_a_half_closed_client_gets_its_answer(daemon, max_tokens):
    fields = {**SHORT, "max_tokens": max_tokens, "ignore_eos": True}
    with half_closed(daemon, fields) as sock:
        status, _, body = read_response(sock)
        assert status == 200
        assert json.loads(body)["usage"]["completion_tokens"] == max_tokens
        assert read_to_end(sock) == b""


@plain_only
def test_a_half_closed_client_gets_its_stream_and_pipelined_answers(daemon):
    with half_closed(daemon, {**SHORT, "max_tokens": 300, "ignore_eos": True, "stream": True}) as sock:
        status, _, body = read_response(sock)
        assert status == 200 and body.endswith(b"data: [DONE]\n\n")
    with connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", SHORT) * 3)
        sock.shutdown(socket.SHUT_WR)
        assert [read_response(sock)[0] for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("half_close_first", [False, True])
def test_a_client_that_has_gone_is_cancelled(daemon, stream, half_close_first):
    before = sum("status=499" in line for line in daemon.log)
    with connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", {**LONG, "stream": stream}))
        wait_until(lambda: daemon.metrics()[RUNNING] == 1, "the request to run")
        if half_close_first:
            sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: daemon.metrics()[RUNNING] == 0, "the request to be cancelled")
    wait_until(lambda: sum("status=499" in line for line in daemon.log) == before + 1, "its log line")
    assert "length:1" not in next(line for line in reversed(daemon.log) if "status=499" in line)


def test_a_half_closed_http_1_0_client_counts_as_gone(daemon):
    body = json.dumps(LONG).encode()
    with connect(daemon) as sock:
        sock.sendall(b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: "
                     + str(len(body)).encode() + b"\r\n\r\n" + body)
        wait_until(lambda: daemon.metrics()[RUNNING] == 1, "the request to run")
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: daemon.metrics()[RUNNING] == 0, "the request to be cancelled")


PLAIN = json.dumps(SHORT).encode()
CODINGS = {
    "gzip": gzip.compress(PLAIN), "x-gzip": gzip.compress(PLAIN), "deflate": zlib.compress(PLAIN),
    "br": b"\x0b\x02\x80", "zstd": b"\x28\xb5\x2f\xfd", "identity, gzip": gzip.compress(PLAIN),
    "GZip": gzip.compress(PLAIN * 500) * 400,  # above 16 KiB: it is not read
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize"])
def test_a_compressed_body_is_a_415_that_names_its_coding(daemon, coding, path):
    status, headers, body = exchange(daemon, path, CODINGS[coding], f"Content-Encoding: {coding}")
    assert status == 415
    error = json.loads(body)["error"]
    assert error["code"] == "unsupported_media_type"
    assert f"'{coding.split()[-1]}'" in error["message"] and "'identity'" in error["message"]
    assert headers["accept-encoding"] == "identity"


def test_identity_and_other_content_types(daemon):
    for header in ("Content-Encoding: identity", "Content-Encoding: Identity", "Content-Encoding:",
                   "Content-Type: application/json; charset=utf-8", "Content-Type: application/vnd.x+json"):
        assert exchange(daemon, "/v1/completions", SHORT, header)[0] == 200, header
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        status, _, body = exchange(daemon, "/v1/completions", SHORT, f"Content-Type: {kind}")
        assert status == 415 and kind.split(";")[0] in json.loads(body)["error"]["message"]


IDS = ["abc", "7b1f-42", "trace/1:2;x=y", "~" * 128, "req_mine", '"quoted"']


@pytest.mark.parametrize("request_id", IDS)
@pytest.mark.parametrize("place", ["header", "body", "both"])
def test_request_ids_are_taken_over(daemon, request_id, place):
    headers = [f"X-Request-Id: {request_id}"] if place != "body" else []
    fields = {"header": {}, "body": {"request_id": request_id}, "both": {"request_id": "other"}}[place]
    for path, more in (("/v1/completions", {}), ("/v1/completions", {"stream": True}), ("/tokenize", {}),
                       ("/v1/completions", {"temperature": 9})):
        status, answered, body = exchange(daemon, path, {**SHORT, **fields, **more}, *headers)
        assert answered["x-request-id"] == request_id, (status, path)
        if path == "/v1/completions" and not more:
            assert json.loads(body)["id"] == "cmpl-" + request_id.removeprefix("req_")
    logged = request_id if '"' not in request_id else "quoted"
    wait_until(lambda: sum(logged in (line or "") for line in daemon.log) >= 3, "the id in the log")


@pytest.mark.parametrize("unusable", ["x" * 129, "a b", "caf\u00e9", "tab\there", ""])
def test_unusable_request_ids(daemon, unusable):
    header = f"X-Request-Id: {unusable}".encode("latin-1").decode("latin-1")
    with connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", SHORT)
                     .replace(b"Host: test", b"Host: test\r\n" + header.encode("latin-1")))
        status, headers, _ = read_response(sock)
    assert status == 200 and headers["x-request-id"].startswith("req_")
    status, headers, body = exchange(daemon, "/v1/completions", {**SHORT, "request_id": unusable})
    assert status == 400 and json.loads(body)["error"]["param"] == "request_id"
    assert headers["x-request-id"].startswith("req_")
    assert exchange(daemon, "/v1/completions", {**SHORT, "request_id": None})[0] == 200
    assert exchange(daemon, "/v1/completions", {**SHORT, "request_id": 7})[0] == 400
    usable = exchange(daemon, "/v1/completions", {**SHORT, "request_id": "mine"},
                      f"X-Request-Id: {'x' * 129}")
    assert usable[1]["x-request-id"] == "mine", "the field counts where the header does not"


ASKED = "authorization,content-type,x-request-id,x-stainless-lang,x-stainless-retry-count"


def preflight(daemon, origin, path="/v1/chat/completions", asked=ASKED):
    headers = [f"Origin: {origin}", "Access-Control-Request-Method: POST"]
    if asked:
        headers.append(f"Access-Control-Request-Headers: {asked}")
    return exchange(daemon, path, b"", *headers, method="OPTIONS")


def allowing(headers):
    return [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000", "https://upper.example"])
def test_preflight_of_a_listed_origin(open_daemon, origin):
    for path in ("/v1/chat/completions", "/v1/models", "/tokenize"):
        status, headers, body = preflight(open_daemon, origin, path)
        assert status == 204 and body == b"" and "content-length" not in headers
        assert headers["access-control-allow-origin"] == origin and headers["vary"] == "Origin"
        assert {"GET", "POST", "OPTIONS"} <= set(headers["access-control-allow-methods"].split(", "))
        assert headers["access-control-allow-headers"] == ASKED
        assert headers["access-control-max-age"] == "86400"
        assert "access-control-allow-credentials" not in headers
    assert "Authorization" in preflight(open_daemon, origin, asked="")[1]["access-control-allow-headers"]
    strange = preflight(open_daemon, origin, asked="a<b>")[1]["access-control-allow-headers"]
    assert "<" not in strange and "Content-Type" in strange


@pytest.mark.parametrize("origin", ["https://evil.example", PAGE + ".evil.example", PAGE + ":444", "null",
                                    PAGE.replace("https", "http"), "http://localhost:3001"])
def test_an_origin_that_is_not_listed_gets_nothing(open_daemon, origin):
    status, headers, _ = preflight(open_daemon, origin)
    assert status == 405 and not allowing(headers) and headers["vary"] == "Origin"
    status, headers, _ = exchange(open_daemon, "/v1/completions", SHORT, f"Origin: {origin}",
                                  "Authorization: Bearer sk-test")
    assert status == 200 and not allowing(headers)


def test_every_answer_to_a_listed_origin_has_the_headers(open_daemon):
    key = "Authorization: Bearer sk-test"
    cases = (
        (200, "/v1/completions", SHORT, key), (200, "/v1/completions", {**SHORT, "stream": True}, key),
        (401, "/v1/completions", SHORT, "X-None: 1"), (400, "/v1/completions", b"{", key),
        (404, "/v1/nothing", SHORT, key), (405, "/health", SHORT, key),
        (415, "/v1/completions", b"x", key + "\r\nContent-Encoding: gzip"),
        (413, "/v1/completions", b"", key + "\r\nContent-Length: 99999999"),
        (431, "/v1/completions", SHORT, key + "\r\nX-Long: " + "x" * 40_000),
        (400, "/v1/completions", b"", key + "\r\nTransfer-Encoding: nothing"))
    for expected, path, body, header in cases:
        request = request_bytes(path, body, f"Origin: {PAGE}", header)
        if "\r\nContent-Length" in header:
            request = request.replace(b"Content-Length: 0\r\n", b"")
        with connect(open_daemon) as sock:
            sock.sendall(request)
            status, headers, _ = read_response(sock)
        assert status == expected, (path, header[:80])
        assert headers["access-control-allow-origin"] == PAGE and headers["vary"] == "Origin", status
        exposed = headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "x-prefixd-cached-tokens", "retry-after"} <= set(exposed)


def test_without_the_option_there_are_no_headers(daemon):
    status, headers, _ = preflight(daemon, PAGE)
    assert status == 405 and not allowing(headers) and "vary" not in headers
    status, headers, _ = exchange(daemon, "/v1/completions", SHORT, f"Origin: {PAGE}")
    assert status == 200 and not allowing(headers) and "vary" not in headers


def test_a_star_allows_every_page():
    with Daemon("--cors-origin", "*") as daemon:
        status, headers, _ = preflight(daemon, "https://any.example")
        assert status == 204 and headers["access-control-allow-origin"] == "*"
        status, headers, _ = exchange(daemon, "/v1/models", b"", "Origin: null", method="GET")
        assert status == 200 and headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("wrong", ["chat.example.org", "https://a/", "https://a/path", "https://a:b",
                                   "https://", "https://a,,https://b", "*,https://a", "https://u@a", "null",
                                   "https://a b", "https://a:70000", "https://\u00e4.example"])
def test_a_malformed_origin_is_refused_with_a_remedy(wrong):
    for command in ("serve", "validate"):
        done = run(command, "--model", MODEL, "--cors-origin", wrong)
        assert done.returncode == 2, (wrong, done.stderr)
        assert "cors-origin: " in done.stderr and "SCHEME://HOST" in done.stderr
