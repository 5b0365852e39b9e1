"""Runs Debian's redis-server for a test, on a free port of the loopback interface, or behind a slow proxy."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from prometheus_server import free_port

PATIENCE = 30


class RedisServer:
    """A context manager. `options` are more arguments of redis-server. It keeps nothing on disk."""

    def __init__(self, *options):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.options = options
        self.folder = tempfile.TemporaryDirectory()
        for _ in range(5):  # another process may take the port
            self.port = free_port()
            if self._start():
                return
        raise AssertionError("redis-server does not start")

    def _start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly",
             "no", "--logfile", os.devnull, *self.options], cwd=self.folder.name)
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
        return f"redis://127.0.0.1:{self.port}/0"

    def ask(self, *words):
        """Sends one command. Returns the reply as bytes, a number, None or a list."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
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
