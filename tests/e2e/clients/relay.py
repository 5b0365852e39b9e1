"""A TCP relay that shows what a client sent and what the daemon answered.

It forwards the bytes of every connection as they come, so that the client talks to the daemon itself, and
keeps a copy of both directions. `exchanges` reads the copies. `start` and `exchanges` are called by one
thread; the relay runs in threads of its own.
"""

import dataclasses
import json
import socket
import threading


@dataclasses.dataclass
class Exchange:
    """A request and the status of its answer. The status is 0 if there was no answer."""
    method: str
    path: str
    body: bytes
    status: int
    answer: bytes

    def json(self):
        """Returns the body as JSON, or {} if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Relay:
    """A context manager that listens on a free port of the loopback interface and forwards to `target`."""

    def __init__(self, target):
        host, port = target.removeprefix("http://").rsplit(":", 1)
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._copies = []  # one pair of bytearrays for each connection: from the client, from the daemon
        self._sockets = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for each in [self._listener, *self._sockets]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by the client
            each.close()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return  # closed
            server = socket.create_connection(self._target)
            copies = bytearray(), bytearray()
            self._copies.append(copies)
            self._sockets += [client, server]
            for source, sink, copy in ((client, server, copies[0]), (server, client, copies[1])):
                threading.Thread(target=self._forward, args=(source, sink, copy), daemon=True).start()

    @staticmethod
    def _forward(source, sink, copy):
        try:
            while data := source.recv(65536):
                copy += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side closed the connection

    def exchanges(self):
        """Returns the exchanges so far, of each connection in order."""
        found = []
        for sent, answered in list(self._copies):
            answers = list(messages(bytes(answered)))
            for index, (line, body) in enumerate(messages(bytes(sent))):
                method, path = line.split(" ")[:2]
                status, text = (int(answers[index][0].split(" ")[1]), answers[index][1]) \
                    if index < len(answers) else (0, b"")
                found.append(Exchange(method, path, body, status, text))
        return found


def messages(data):
    """Yields the first line and the body of every HTTP/1.1 message in `data`, which may end early."""
    while b"\r\n\r\n" in data:
        head, data = data.split(b"\r\n\r\n", 1)
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
        if line.startswith("HTTP/1.1 1"):
            continue  # 100 Continue has no body, and the answer follows
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, data = dechunk(data)
        else:
            size = int(headers.get("content-length", 0))
            body, data = data[:size], data[size:]
        yield line, body


def dechunk(data):
    """Returns the body that `data` begins with, in chunks, and what follows it."""
    body = b""
    while b"\r\n" in data:
        line, data = data.split(b"\r\n", 1)
        size = int(line.split(b";")[0], 16)
        body, data = body + data[:size], data[size + 2:]
        if size == 0:
            break
    return body, data
