"""Debian's redis-server for a measurement or a test, and a proxy that makes it slow. It needs nothing but
Python; tests/e2e/redis_server.py has what tests need beside it.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 30  # seconds


def free_port():
    """One of the loopback interface. Another process may take it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class RedisServer:
    """A context manager; without `with` it ends with the program. On a free port of the loopback interface.
    `options` are more arguments of redis-server. It keeps nothing on disk.
    """

    scheme = "redis"

    def __init__(self, *options):
        self.options = options
        self.folder = tempfile.TemporaryDirectory()
        atexit.register(self.kill)
        for _ in range(5):
            self._choose_ports()
            if self._start():
                return
        sys.exit("redis-server does not start")

    def _choose_ports(self):
        self.port = free_port()

    def _port_options(self):
        return ["--port", str(self.port)]

    def _start(self):
        command = ["redis-server", "--bind", "127.0.0.1", *self._port_options(), "--save", "", "--appendonly",
                   "no", "--logfile", os.devnull, *self.options]
        try:
            self.process = subprocess.Popen(command, cwd=self.folder.name)
        except FileNotFoundError:
            sys.exit("redis-server is not installed: apt install redis-server")
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

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/0"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def restart(self):
        if not self._start():
            sys.exit("redis-server does not start again")


class SlowProxy:
    """A context manager; without `with` it ends with the program. A TCP proxy before a server, which passes
    on `rate` bytes per second from it; None: all at once. The rate may change.
    """

    def __init__(self, port, rate=None):
        self.target, self.rate = port, rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for ends in (client, server, False), (server, client, True):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source, target, slowly):
        try:
            while data := source.recv(4096):
                if slowly and self.rate is not None:
                    time.sleep(len(data) / self.rate)
                target.sendall(data)
        except OSError:
            pass
        for end in source, target:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
