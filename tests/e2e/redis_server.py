"""Debian's redis-server in a test: alone, as a cluster, with TLS, or behind a slow proxy."""

import shutil
import socket
import ssl
import tempfile

import pytest
import redis_store

from daemon import make_certificate, wait_until
from redis_store import PATIENCE, SlowProxy, free_port

__all__ = ["RedisCluster", "RedisServer", "SlowProxy"]


class RedisServer(redis_store.RedisServer):
    """With `tls` it takes TLS alone."""

    def __init__(self, *options, tls=False):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.certificate = None
        if tls:
            self.scheme = "rediss"
            self.keys = tempfile.TemporaryDirectory()
            self.certificate, key = make_certificate(self.keys.name)
            options += ("--tls-cert-file", self.certificate, "--tls-key-file", key, "--tls-ca-cert-file",
                        self.certificate, "--tls-auth-clients", "no")
        super().__init__(*options)

    def _port_options(self):
        if self.certificate is None:
            return super()._port_options()
        return ["--port", "0", "--tls-port", str(self.port)]

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


class ClusterServer(RedisServer):
    def __init__(self):
        super().__init__("--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
                         "--cluster-require-full-coverage", "no")

    def _choose_ports(self):
        super()._choose_ports()
        self.bus = free_port()

    def _port_options(self):
        return [*super()._port_options(), "--cluster-port", str(self.bus)]


class RedisCluster:
    """A context manager: a cluster of three servers, each with a third of the slots and no replica."""

    SLOTS = 16384

    def __init__(self):
        self.servers = [ClusterServer() for _ in range(3)]
        for i, server in enumerate(self.servers):
            server.ask("CLUSTER", "ADDSLOTSRANGE", i * self.SLOTS // 3, (i + 1) * self.SLOTS // 3 - 1)
        for server in self.servers[1:]:
            self.servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port, server.bus)
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
