"""Debian's redis-server for a measurement, and a proxy that makes it slow. It needs nothing but Python."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time


class RedisServer:
    """On a free port of the loopback interface. It keeps nothing on disk."""

    def __init__(self, *options):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                   "--appendonly", "no", "--logfile", os.devnull, *options]
        try:
            self.process = subprocess.Popen(command)
        except FileNotFoundError:
            sys.exit("redis-server is not installed: apt install redis-server")
        atexit.register(self.kill)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    sys.exit("redis-server does not start")
                time.sleep(0.02)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


class SlowProxy:
    """A TCP proxy before a server. Once `rate` is set, it passes on so many bytes per second from it."""

    def __init__(self, port):
        self.target, self.rate = port, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
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
