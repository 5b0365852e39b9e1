"""Tests the daemon on a listening socket of the service manager, which stays open while no daemon runs."""

import json
import pathlib
import socket
import tempfile
import threading

import pytest

from daemon import Daemon, wait_until
from raw_client import read_response, request_bytes

BODY = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}


@pytest.fixture(name="listener")
def the_listener():
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


def address_of(listener):
    return "127.0.0.1:{1}".format(*listener.getsockname())


def send(listener):
    client = socket.create_connection(listener.getsockname())
    client.settimeout(60)
    client.sendall(request_bytes("/v1/completions", BODY))
    return client


def test_it_answers_on_the_socket_that_it_was_passed(listener):
    with Daemon(listen=address_of(listener), listener=listener) as daemon:
        assert daemon.url == "http://" + address_of(listener)
        with send(listener) as client:
            assert read_response(client)[0] == 200
        daemon.signal()
        assert daemon.exit_code() == 0


def test_nobody_is_refused_while_it_restarts(listener):
    """What runs is answered whole; who connects after the signal is answered by the next process."""
    with Daemon(listen=address_of(listener), listener=listener) as daemon:
        stream = daemon.start_stream(prompt="Once", max_tokens=600, ignore_eos=True)
        daemon.signal()
        wait_until(lambda: daemon.logged("draining"), "the daemon to drain")
        waiting = [send(listener) for _ in range(40)]
        text = stream.first + stream.read().decode()
        assert text.endswith("data: [DONE]\n\n") and "error" not in text
        assert daemon.exit_code() == 0
    waiting += [send(listener) for _ in range(10)]  # no process runs
    statuses = []
    with Daemon(listen=address_of(listener), listener=listener):
        for client in waiting:
            with client:
                statuses.append(read_response(client)[0])
    # Those that the next process accepts before its model is loaded are told to come again.
    assert len(statuses) == 50 and set(statuses) <= {200, 503}, statuses


def test_clients_that_come_again_are_all_answered(listener):
    """Eight clients send all the time, over two restarts: no connection is refused or reset."""
    stop, faults, answers = threading.Event(), [], []

    def client():
        while not stop.is_set():
            try:
                with send(listener) as connection:
                    status, headers, body = read_response(connection)
            except OSError as error:
                faults.append(repr(error))
                continue
            if status == 200:
                answers.append(json.loads(body)["choices"][0]["text"])
            elif status != 503 or "retry-after" not in headers:
                faults.append((status, body))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for life in range(3):
        with Daemon(listen=address_of(listener), listener=listener) as daemon:
            expected = len(answers) + 40
            wait_until(lambda: len(answers) >= expected, "answers")
            if life == 2:
                stop.set()
                for thread in threads:
                    thread.join(60)
            daemon.signal()
            assert daemon.exit_code() == 0
    assert faults == [] and len(set(answers)) == 1


def test_another_address_is_refused(listener):
    with Daemon(listen="127.0.0.1:1", listener=listener, wait=False) as daemon:
        assert daemon.exit_code() == 2
        assert daemon.logged("the service manager passes the socket http://" + address_of(listener))
        assert daemon.logged("--listen is 127.0.0.1:1")


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as unbound:
        with Daemon(listener=unbound, wait=False) as daemon:
            assert daemon.exit_code() == 2
            assert daemon.logged("is not a listening stream socket")


def test_the_file_of_a_unix_socket_stays():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "http"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            with Daemon(listen=f"unix:{path}", listener=listener) as daemon:
                assert daemon.url == f"unix:{path}"
                daemon.signal()
                assert daemon.exit_code() == 0
            assert path.is_socket()
