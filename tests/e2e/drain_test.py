"""Tests how a drain ends when its time runs out: every client gets an answer that it can read."""

import json
import threading

import pytest

from daemon import Daemon, wait_until
from raw_client import connect, exchange, read_response, read_to_end, request_bytes

LONG = {"prompt": "Once", "max_tokens": 3500, "ignore_eos": True}  # seconds of decoding
AT_ONCE = ("--drain-seconds", 0)
RUNNING, WAITING, GENERATED = ((f"vllm:{name}", (("model_name", "demo"),)) for name in
                               ("num_requests_running", "num_requests_waiting", "generation_tokens_total"))


def cut_off(daemon):
    """Sends SIGTERM and waits for the end of the daemon, whose time to drain runs out."""
    daemon.signal()
    assert daemon.exit_code() == 1
    assert daemon.logged("drain-seconds ran out")


def expect_unavailable(response):
    status, headers, body = response
    assert status == 503
    assert 1 <= int(headers["retry-after"]) <= 60 and headers["connection"] == "close"
    assert headers["x-request-id"] and headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert error["code"] == "overloaded" and error["type"] == "server_error" and error["param"] is None


def stream_error(text):
    """Returns the error of a stream whose last event is an error."""
    assert text.endswith("\n\n") and "[DONE]" not in text
    event = text.split("\n\n")[-2]
    assert event.startswith("data: ")
    return json.loads(event[6:])["error"]


@pytest.mark.parametrize("fields", [{}, {"n": 4, "seed": 1}, {"prompt": ["Once", "The", "a"]}])
def test_a_stream_ends_with_an_error_event(fields):
    with Daemon(*AT_ONCE) as daemon:
        stream = daemon.start_stream(**{**LONG, **fields})
        cut_off(daemon)
        error = stream_error(stream.first + stream.read().decode())  # read() checks the last chunk
        assert error["code"] == "overloaded" and error["type"] == "server_error"


@pytest.mark.parametrize("fields", [{}, {"n": 4}, {"stream": True, "prompt": [5] * 1500, "max_tokens": 2000}])
def test_a_request_without_an_answer_gets_503(fields):
    with Daemon("--drain-seconds", 0, "--threads", 1) as daemon, connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", {**LONG, **fields}))
        if fields.get("stream"):
            wait_until(lambda: daemon.metrics()[RUNNING] == 1, "the request to run")
        else:
            wait_until(lambda: daemon.metrics()[GENERATED] > 0, "the first token")
        daemon.signal()
        response = read_response(sock)
        if response[0] == 200:  # the first token was faster than the signal
            assert fields.get("stream")
            stream_error(response[2].decode())
        else:
            expect_unavailable(response)
        assert read_to_end(sock) == b""
        assert daemon.exit_code() == 1


def test_choices_of_which_some_have_finished():
    with Daemon("--drain-seconds", 1, "--max-sequences", 1) as daemon, connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", {**LONG, "n": 16, "max_tokens": 3000}))
        wait_until(lambda: daemon.metrics()[GENERATED] > 3000, "the first choice to finish")
        cut_off(daemon)
        expect_unavailable(read_response(sock))
        wait_until(lambda: daemon.logged("status=503"), "the log line of the request")


def test_requests_that_wait_and_bodies_that_have_not_arrived():
    with Daemon(*AT_ONCE, "--max-sequences", 1) as daemon:
        stream = daemon.start_stream(**LONG)
        with connect(daemon) as waiting, connect(daemon) as half, connect(daemon) as chunked, \
                connect(daemon) as head, connect(daemon) as idle:
            waiting.sendall(request_bytes("/v1/completions", LONG))
            whole = request_bytes("/v1/completions", {**LONG, "prompt": "x" * 40_000})
            half.sendall(whole[:20_000])
            chunked.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                            b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro\r\n4")
            head.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Ty")
            idle.sendall(request_bytes("/health", b"", method="GET"))
            assert read_response(idle)[0] == 200
            wait_until(lambda: daemon.metrics()[WAITING] == 1, "the request to wait")
            cut_off(daemon)
            for sock in (waiting, half, chunked, head):
                expect_unavailable(read_response(sock))
                assert read_to_end(sock) == b""
            assert read_to_end(idle) == b"", "an idle connection is closed without an answer"
        assert stream_error(stream.read().decode())["code"] == "overloaded"


def test_keep_alive_connections():
    with Daemon(*AT_ONCE) as daemon, connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", {"prompt": "x", "max_tokens": 1}))
        assert read_response(sock)[0] == 200
        later = request_bytes("/v1/completions", {"prompt": "y", "max_tokens": 1})
        sock.sendall(request_bytes("/v1/completions", LONG) + later)  # pipelined
        wait_until(lambda: daemon.metrics()[RUNNING] == 1, "the request to run")
        cut_off(daemon)
        expect_unavailable(read_response(sock))
        assert read_to_end(sock) == b"", "the pipelined request has no answer: the client may repeat it"


def test_a_client_that_does_not_read_delays_the_end_only_shortly():
    with Daemon("--drain-seconds", 0) as daemon, connect(daemon) as sock:
        sock.sendall(request_bytes("/v1/completions", {**LONG, "stream": True}))
        wait_until(lambda: daemon.metrics()[GENERATED] > 0, "the first token")
        cut_off(daemon)


def test_a_second_signal_ends_requests_with_the_same_errors():
    with Daemon() as daemon, connect(daemon) as sock:
        stream = daemon.start_stream(**LONG)
        sock.sendall(request_bytes("/v1/completions", LONG))
        wait_until(lambda: daemon.metrics()[RUNNING] == 2, "both requests to run")
        daemon.signal()
        wait_until(lambda: daemon.logged("draining"), "the log line 'draining'")
        daemon.signal()
        expect_unavailable(read_response(sock))
        assert stream_error(stream.read().decode())["code"] == "overloaded"
        assert daemon.exit_code() == 1 and daemon.logged("second signal")


def test_a_second_signal_while_the_last_connections_end():
    """The client has read its error and keeps the connection, for which the daemon waits a second."""
    with Daemon() as daemon, connect(daemon) as half:
        half.sendall(request_bytes("/v1/completions", {**LONG, "prompt": "x" * 40_000})[:20_000])
        assert exchange(daemon, "/health", b"", method="GET")[0] == 200
        daemon.signal()
        expect_unavailable(read_response(half))
        daemon.signal()
        assert daemon.exit_code() == 1
        assert daemon.logged("ended by a second signal") and not daemon.logged("stopped")


def test_a_request_that_runs_in_turn_ends_within_the_drain():
    with Daemon("--max-sequences", 1, "--max-queue", 2) as daemon:
        results = []
        thread = threading.Thread(
            target=lambda: results.append(daemon.complete(prompt=[[5]] * 50, max_tokens=20, ignore_eos=True)))
        thread.start()
        wait_until(lambda: daemon.metrics()[GENERATED] > 0, "the first token")
        daemon.signal()
        thread.join()
        assert len(results[0]["choices"]) == 50
        assert daemon.exit_code() == 0
