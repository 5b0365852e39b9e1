#!/usr/bin/env python3
"""Sends malformed requests to a daemon with the demo model and checks that it withstands them.

    tests/e2e/malformed_requests.py --requests 100000 --seed 7

The requests are made from a grammar of all routes: valid bodies with changed values and bytes, deep JSON,
invalid UTF-8, wrong methods, heads and framing, clients that are slow, half-close or leave. A seed and a
count give the same requests. Exit code 1 when an answer has a status of 500 or more that is neither 503 nor
505 (a version of HTTP), is not JSON, or never comes, and when the daemon does not end with code 0 and without
the report of a sanitizer.
`PREFIXD_PROGRAM` names the program, such as build/asan/prefixd.
"""

import argparse
import collections
import contextlib
import http.client
import json
import random
import socket
import sys
import threading
import time

import malformed_bodies
from daemon import Daemon, PATIENCE, TLS
from raw_client import Reader, connect, read_response

OPTIONS = ["--context", 256, "--max-sequences", 8, "--max-queue", 64]
REPORTS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "CHECK failed", "check failed")
METHODS = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "post", "P OST", "",
           "X" * 300]
PATHS = ["/", "*", "//", "/v1/v1/models", "/v1/responses/", "/v1/responses/%00", "/v1/models/%ff",
         "/v1/" + "a" * 9000,
         "/v1/responses/resp_1/input_items?limit=-1", "/v1/responses/a/b/cancel", "/v1/images/x",
         "/%2e%2e/etc",
         "/v1/responses/x/input_items?limit=9&order=asc&after=\xff", "http://other/v1/models",
         "/metrics?a[]=1"]
HEADERS = [b"Content-Type: text/plain", b"Content-Type: application/json; charset=utf-16",
           b"Content-Encoding: gzip",
           b"Transfer-Encoding: chunked", b"Content-Length: -1", b"Content-Length: 99999999999999999999",
           b"Content-Length: 5\r\nContent-Length: 6", b"Expect: 100-continue", b"Expect: 200",
           b"Connection: close",
           b"Authorization: Bearer \xff\xfe", b"Authorization: Basic", b"x-api-key:", b"X: " + b"a" * 20000,
           b"\r\n".join(b"H%d: x" % i for i in range(300)), b"Bad Header", b": empty", b"X-Request-Id: \x01",
           b"Upgrade: h2c\r\nConnection: Upgrade", b"Host:", b"X:\0", b"anthropic-version: \xf0",
           b" folded: x",
           b"x-request-id: " + b"r" * 500, b"Origin: null", b"Accept-Encoding: identity;q=0"]


VERSION = 505  # the answer to HTTP/2 and other versions


class Failure(Exception):
    pass


def close(sock):
    """Closes the socket, and the file that read_response has made of it."""
    reader = Reader.of.pop(sock, None)
    if reader is not None:
        reader.file.close()
    sock.close()


class Client:
    """Sends the requests of one thread. `fields` maps the path of each route to its fields."""

    def __init__(self, daemon, fields):
        self.daemon, self.fields, self.sock = daemon, fields, None
        self.statuses = collections.Counter()

    def close(self):
        if self.sock is not None:
            close(self.sock)
        self.sock = None

    def check(self, status, headers, body):
        self.statuses[status] += 1
        if status >= 500 and status not in (503, VERSION):
            raise Failure(f"status {status}: {body[:300]!r}")
        if status < 400 or not body:
            return
        if "error" not in json.loads(body) or not headers.get("x-request-id"):
            raise Failure(f"an error that is none: {headers} {body[:300]!r}")

    def whole(self, dice):
        """A request whose framing is right, with a wrong body, on a connection that stays open."""
        path = dice.choice(list(self.fields))
        body = malformed_bodies.body(dice, path, self.fields[path])
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        if dice.random() < 0.2:  # in chunks
            cut = dice.randrange(len(body) + 1)
            parts = [part for part in (body[:cut], body[cut:]) if part]
            data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            head += "Transfer-Encoding: chunked\r\n\r\n"
        else:
            data = body
            head += f"Content-Length: {len(body)}\r\n\r\n"
        self.sock = self.sock or connect(self.daemon)
        try:
            self.sock.sendall(head.encode() + data)
            status, headers, answer = read_response(self.sock)
        except (ConnectionError, http.client.RemoteDisconnected):  # the last answer closed the connection
            return self.close()
        self.check(status, headers, answer)
        if headers.get("connection") == "close":
            self.close()

    def bytes_of_broken(self, dice):
        path = dice.choice(list(self.fields))
        body = malformed_bodies.body(dice, path, self.fields[path])
        length = dice.choice([len(body), len(body), len(body) + 10, max(len(body) - 3, 0), 0])
        lines = [dice.choice([b"POST"] * 6 + [m.encode() for m in METHODS]) + b" "
                 + (path if dice.random() < 0.6 else dice.choice(PATHS)).encode("latin-1") + b" "
                 + dice.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b""]), b"Host: x"]
        lines += dice.sample(HEADERS, dice.choice([0, 1, 1, 2, 4]))
        if dice.random() < 0.8:
            lines.append(b"Content-Length: %d" % length)
        data = dice.choice([b"\r\n"] * 8 + [b"\n"]).join(lines) + b"\r\n\r\n" + body
        return malformed_bodies.spoil(dice, data) if dice.random() < 0.3 else data

    def broken(self, dice):
        """Bytes that may be no request, from a client that may be slow, close its half, or leave."""
        data = self.bytes_of_broken(dice) * dice.choice([1, 1, 1, 2, 3])
        head = data.startswith(b"HEAD")  # its answer has no body
        with contextlib.ExitStack() as stack:
            sock = connect(self.daemon)
            stack.callback(close, sock)
            try:
                if dice.random() < 0.2:  # slow
                    for _ in range(3):
                        cut = dice.randrange(len(data) + 1)
                        sock.sendall(data[:cut])
                        data = data[cut:]
                        time.sleep(dice.choice([0.001, 0.01, 0.05]))
                sock.sendall(data)
                leaves = dice.random()
                if leaves < 0.2:  # with a reset
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
                if TLS is not None:  # Python's cannot read after it has ended sending
                    return
                sock.shutdown(socket.SHUT_WR)
                if leaves < 0.3:
                    return
                status, headers, body = read_response(sock)
                self.check(status, headers, b"" if head else body)
            except (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead, BrokenPipeError):
                self.statuses["closed"] += 1

    def send(self, seed):
        dice = random.Random(seed)
        try:
            (self.whole if dice.random() < 0.7 else self.broken)(dice)
        except (Failure, OSError, ValueError) as error:
            self.close()
            raise Failure(f"request {seed}: {type(error).__name__}: {error}") from error


def fields_of(daemon):
    """The fields of every route with a body, from the daemon's own document."""
    paths = json.loads(daemon.get("/openapi.json")[2])["paths"]
    fields = {}
    for path, operations in paths.items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        if content:
            fields[path] = sorted(content["application/json"]["schema"]["properties"])
    assert set(fields) == set(malformed_bodies.BODIES), "a route without bodies in malformed_bodies.py"
    return fields


def work(client, seed, numbers, failures):
    for number in numbers:
        try:
            client.send(f"{seed}/{number}")
        except Failure as failure:
            failures.append(str(failure))
            if client.daemon.process.poll() is not None:
                return
    client.close()


def run(count, seed, threads):
    """Returns (counts of statuses, failures)."""
    failures, statuses = [], collections.Counter()
    with Daemon(*OPTIONS) as daemon:
        fields = fields_of(daemon)
        clients = [Client(daemon, fields) for _ in range(threads)]
        workers = [threading.Thread(target=work, args=(client, seed, range(i, count, threads), failures))
                   for i, client in enumerate(clients)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for client in clients:
            statuses += client.statuses
        if daemon.process.poll() is None:
            if daemon.get("/health")[0] != 200:
                failures.append("/health is not 200 afterwards")
            deadline = time.monotonic() + PATIENCE
            while "running{model_name=\"demo\"} 0" not in daemon.get("/metrics")[2]:
                if time.monotonic() > deadline:
                    failures.append("requests still run afterwards")
                    break
                time.sleep(0.2)
            daemon.signal()
        code = daemon.process.wait(PATIENCE)
        for reader in daemon.readers:
            reader.join(PATIENCE)
        log = [line for line in daemon.log if line]
        reports = [line for line in log if any(report in line for report in REPORTS)]
        if code != 0 or reports:
            failures.append(f"the daemon ended with code {code}: {reports or log[-20:]}")
    return statuses, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8)
    arguments = parser.parse_args()
    statuses, failures = run(arguments.requests, arguments.seed, arguments.threads)
    for failure in failures[:50]:
        print("FAILED", failure)
    print(dict(sorted(statuses.items(), key=str)), f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
