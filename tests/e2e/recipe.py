"""Runs the commands of a section of docs/FLEET.md as they stand there, for the tests: with the programs of
the build, the demo model, and free ports in place of those that are written."""

import re
import shlex
import signal
import socket
import subprocess
import urllib.request

from daemon import MODEL, PATIENCE, PROGRAM, ROOT, environment_of, wait_until
from prometheus_server import free_port

PAGE = (ROOT / "docs/FLEET.md").read_text()


def commands_of(heading):
    """The commands of a section, each as one line, in their order."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/FLEET.md has no section {heading!r}"
    lines = [line[4:] for line in found[1].splitlines() if line.startswith("    ")]
    return [command for command in "\n".join(lines).replace("\\\n", " ").splitlines() if command.strip()]


class Recipe:
    """A context manager that starts the servers of a section, in their order. `programs`: where those are
    that are not on the path, by name."""

    def __init__(self, heading, folder, **programs):
        self.programs = {"prefixd": PROGRAM, **{name.replace("_", "-"): path
                                                for name, path in programs.items()}}
        self.folder = folder
        self.ports = {}
        commands = [self._words(command) for command in commands_of(heading)]
        self.servers = [words for words in commands if words[0] != "curl"]
        self.steps = [words for words in commands if words[0] == "curl"]
        assert self.servers and self.steps
        self.processes = []

    def _port(self, written):
        return str(self.ports.setdefault(written, free_port()))

    def _words(self, command):
        command = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: "127.0.0.1:" + self._port(found[1]), command)
        command = re.sub(r"(port )(\d+)", lambda found: found[1] + self._port(found[2]), command)
        return shlex.split(command.replace("--model MODEL", f"--model {MODEL}"))

    def url(self, written):
        """The address that stands for the one with this port."""
        return f"http://127.0.0.1:{self.ports[str(written)]}"

    def __enter__(self):
        try:
            for words in self.servers:
                self._start(words)
        except BaseException:  # without __enter__ there is no __exit__
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def _start(self, words):
        with (self.folder / f"{len(self.processes)}-{words[0]}.log").open("w") as out:
            words = [str(self.programs.get(words[0], words[0])), *words[1:]]
            self.processes.append(subprocess.Popen(words, stdout=out, stderr=out, cwd=self.folder,
                                                   env=environment_of({})))
        self._wait_until_up(words)

    def _wait_until_up(self, words):
        """A daemon is up when it is ready, a router when it is healthy, another server when it listens."""
        port = next(words[i + 1] for i, word in enumerate(words) if word in ("--listen", "--port"))
        port = int(port.split(":")[-1])
        path = "/ready" if "--listen" in words else "/health" if "--worker-urls" in words else None

        def is_up():
            assert self.processes[-1].poll() is None, words
            try:
                if path is None:
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
                    return True
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                    return answer.status == 200
            except OSError:  # also an answer that is an error
                return False
        wait_until(is_up, f"{words[0]} to be up")

    def run(self, number=0, **words):
        """Runs a step. `words` are put in the place of words in capitals. Returns its output."""
        text = self.steps[number]
        for name, value in words.items():
            text = [part.replace(name, value) for part in text]
        done = subprocess.run(text, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout
