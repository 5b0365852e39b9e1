"""Sends bytes to a daemon over a socket and reads its answers, for tests of what HTTP libraries hide."""

import http.client
import json
import weakref

from daemon import dial


def connect(daemon):
    return dial(daemon.url, daemon.certificate)


def request_bytes(path, body, *headers, method="POST"):
    """Returns a request. `body` is bytes, or a value that is sent as JSON."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    if method == "POST" and not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Reader:
    """The file of a socket, which outlives a response: a read may take in the beginning of the next one."""

    of = weakref.WeakKeyDictionary()  # by socket

    def __init__(self, sock):
        self.file = sock.makefile("rb")

    def __getattr__(self, name):
        return getattr(self.file, name)

    def makefile(self, *_):
        return self

    def close(self):
        pass


def read_response(sock):
    """Returns (status, headers with names in lower case, bytes of the body) of the next response."""
    if sock not in Reader.of:
        Reader.of[sock] = Reader(sock)
    response = http.client.HTTPResponse(Reader.of[sock])
    response.begin()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def exchange(daemon, *arguments, **fields):
    """Sends one request on a connection of its own. Returns its response, as read_response does."""
    with connect(daemon) as sock:
        sock.sendall(request_bytes(*arguments, **fields))
        return read_response(sock)


def read_to_end(sock):
    text = b""
    while part := sock.recv(1 << 16):
        text += part
    return text
