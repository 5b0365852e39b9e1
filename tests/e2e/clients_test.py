"""Checks what tests/e2e/clients is made of. Its clients are run by hand; CI has the openai client only."""

import importlib.machinery
import importlib.util
import re
import socket
import sys
import threading

import openai
import pytest

from daemon import ROOT, Daemon

HERE = ROOT / "tests/e2e/clients"


def load(name, file):
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / file))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module  # dataclasses look it up
    loader.exec_module(module)
    return module


relay = load("relay", "relay.py")
run = load("clients_run", "run")


def test_every_requirement_is_pinned_and_every_client_has_a_script():
    for client in run.CLIENTS:
        requirements = [each for call in client.install for each in call if not each.startswith("--")]
        assert requirements and all("==" in each for each in requirements), client
        assert any(each.partition("[")[0].startswith(client.package) and each.endswith("==" + client.version)
                   for each in requirements), client
        assert (HERE / f"try_{client.name.replace('-', '_')}.py").exists(), client


def test_the_page_has_the_clients_that_are_tried():
    page = (ROOT / "docs/CLIENTS.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ", page, re.M)
    assert rows == [(each.name, each.version) for each in run.CLIENTS]
    tried = re.findall(r"^- ([\w-]+): (.+)$", page, re.M)
    assert tried == [(each.name, each.tried) for each in run.CLIENTS]
    assert "failed |" not in page


def test_the_relay_shows_what_the_openai_client_sends():
    with Daemon() as daemon, relay.Relay(daemon.url) as between:
        client = openai.OpenAI(base_url=between.url + "/v1", api_key="any", max_retries=0)
        asked = {"model": "demo", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
        whole = client.chat.completions.create(**asked)
        parts = list(client.chat.completions.create(**asked, stream=True))
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")
        found = between.exchanges()
    assert [(each.method, each.path, each.status) for each in found] == [
        ("POST", "/v1/chat/completions", 200), ("POST", "/v1/chat/completions", 200),
        ("GET", "/v1/models/other", 404)]
    assert found[0].json() == asked and found[1].json() == {**asked, "stream": True}
    assert whole.id.encode() in found[0].answer
    assert found[1].answer.count(b"data: {") == len(parts) and found[1].answer.endswith(b"data: [DONE]\n\n")


def exchange(path="/v1/chat/completions", body=b"{}", status=200):
    return relay.Exchange("POST", path, body, status, b"")


@pytest.mark.parametrize("plain, streamed, exchanges, faults", [
    ("text", "text", [exchange(), exchange(body=b'{"stream":true}')], 0),
    ("text", "never: no such mode", [exchange(body=b'{"stream":false}')], 0),
    ("text", "text", [exchange()], 1),
    ("text", "never: no such mode", [exchange(), exchange(body=b'{"stream":true}')], 1),
    ("text", "text", [], 2),
    ("text", "never: no such mode", [exchange(), exchange(status=400)], 0),  # the script provoked the 400
    ("text", "never: no such mode", [exchange(), exchange(status=500)], 1),
    ("text", "never: no such mode", [exchange(), exchange(status=0)], 1),
    ("text", "never: no such mode", [exchange(), exchange(path="/tokenize", status=404)], 0),
])
def test_what_the_relay_saw_decides(plain, streamed, exchanges, faults):
    report = {"plain": plain, "streamed": streamed, "refused": [400]}
    assert len(run.faults_of(report, exchanges)) == faults


@pytest.mark.parametrize("data, messages", [
    (b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n", [("GET /a HTTP/1.1", b"")]),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
     [("HTTP/1.1 200 OK", b"ab")]),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
     b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
     [("HTTP/1.1 200 OK", b"ab0123456789abcdef"), ("HTTP/1.1 404 No", b"")]),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", [("HTTP/1.1 200 OK", b"ab")]),
    (b"POST /a HTTP/1.1\r\nContent-Le", []),
])
def test_the_relay_reads_messages(data, messages):
    assert list(relay.messages(data)) == messages


def test_the_relay_forwards_an_end_of_input_and_an_answer_after_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            peer = server.accept()[0]
            with peer:
                got = b""
                while data := peer.recv(100):
                    got += data
                peer.sendall(got[::-1])
        thread = threading.Thread(target=answer)
        thread.start()
        with relay.Relay(f"http://127.0.0.1:{server.getsockname()[1]}") as between:
            port = int(between.url.rsplit(":", 1)[1])
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(b"abc")
                client.shutdown(socket.SHUT_WR)
                got = b""
                while data := client.recv(100):
                    got += data
        thread.join(30)
    assert got == b"cba"
