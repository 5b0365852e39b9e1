"""Runs Debian's redis-server for a test, on a free port of the loopback interface: alone, as a cluster, with
TLS, or behind a slow proxy.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

from daemon import make_certificate, wait_until
from prometheus_server import free_port

PATIENCE = 30


class RedisServer:
    """A context manager. `options` are more arguments of redis-server. It keeps nothing on disk. With `tls`
    it takes TLS alone.
    """

    def __init__(self, *options, tls=False):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.options = options
        self.folder = tempfile.TemporaryDirectory()
        self.certificate = None
        if tls:
            self.certificate, key = make_certificate(self.folder.name)
            self.options += ("--tls-cert-file", self.certificate, "--tls-key-file", key, "--tls-ca-cert-file",
                             self.certificate, "--tls-auth-clients", "no")
        for _ in range(5):  # another process may take the port
            self.port = free_port()
            if self._start():
                return
        raise AssertionError("redis-server does not start")

    def _start(self):
        port = ["--port", str(self.port)]
        if self.certificate is not None:
            port = ["--port", "0", "--tls-port", str(self.port)]
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", *port, "--save", "", "--appendonly", "no", "--logfile",
             os.devnull, *self.options], cwd=self.folder.name)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def restart(self):
        assert self._start()

    def signal(self, number):
        self.process.send_signal(number)

    @property
    def url(self):
        return f"redis{'' if self.certificate is None else 's'}://127.0.0.1:{self.port}/0"

    @property
    def flags(self):
        """The options of a daemon that uses it."""
        believes = [] if self.certificate is None else ["--remote-tls-ca", self.certificate]
        return ["--remote-cache", self.url, *believes]

    def _connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        if self.certificate is None:
            return connection
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(connection, server_hostname="127.0.0.1")

    def ask(self, *words):
        """Sends one command. Returns the reply as bytes, a number, None or a list."""
        with self._connect() as connection:
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) +
                               b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            with connection.makefile("rb") as replies:
                return self._read(replies)

    def _read(self, replies):
        line = replies.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._read(replies) for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def records(self):
        return self.ask("KEYS", "prefixd:1:*")


class RedisCluster:
    """A context manager: a cluster of three servers, each with a third of the slots and no replica."""

    SLOTS = 16384

    def __init__(self):
        buses = [free_port() for _ in range(3)]
        self.servers = [RedisServer("--cluster-enabled", "yes", "--cluster-port", str(bus),
                                    "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
                        for bus in buses]
        for i, server in enumerate(self.servers):
            server.ask("CLUSTER", "ADDSLOTSRANGE", i * self.SLOTS // 3, (i + 1) * self.SLOTS // 3 - 1)
        for server, bus in zip(self.servers[1:], buses[1:]):
            self.servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for server in self.servers:
            wait_until(lambda: self._is_whole(server.ask("CLUSTER", "INFO")), "the cluster to form")

    def _is_whole(self, info):
        return all(line in info for line in (b"cluster_state:ok", b"cluster_known_nodes:3",
                                             b"cluster_slots_ok:16384"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.__exit__()

    @property
    def flags(self):
        return self.servers[0].flags

    def records(self):
        return [key for server in self.servers for key in server.records()]


class SlowProxy:
    """A context manager: a TCP proxy before a server, which passes on so many bytes per second from it."""

    def __init__(self, port, bytes_per_second):
        self.target, self.rate = port, bytes_per_second
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.rate), daemon=True).start()

    def _pass(self, source, target, rate):
        try:
            while data := source.recv(4096):
                if rate is not None:
                    time.sleep(len(data) / rate)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
