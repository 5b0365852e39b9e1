"""Shared code of the conformance tests: the server under test, and short forms of requests.

The server is the one at PREFIXD_URL, or else a daemon with the demo model on a free port.
"""

import json
import os

import openai
import pytest

from daemon import Daemon, http_connection

USER = [{"role": "user", "content": "What is prefixd?"}]
GREEDY = {"temperature": 0}
CONTEXT = 2048


class Server:
    """The server under test: plain HTTP requests to it, and the official client for it."""

    def __init__(self, url):
        self.url = url
        self.client = openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0)
        self.model = self.client.models.list().data[0].id

    def raw(self, method, path, body=None, headers=None):
        """Returns (status, headers with names in lower case, bytes). A `body` of bytes is sent unchanged."""
        connection = http_connection(self.url)
        text = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, text,
                           headers if headers is not None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer

    def json(self, method, path, body=None):
        status, _, text = self.raw(method, path, body)
        return status, json.loads(text)

    def chat(self, **fields):
        return self.client.chat.completions.create(
            **{"model": self.model, "messages": USER, **GREEDY, "max_tokens": 16, **fields})

    def complete(self, **fields):
        return self.client.completions.create(
            **{"model": self.model, "prompt": "prefixd is", **GREEDY, "max_tokens": 8, **fields})

    def events(self, path, body):
        """Returns the raw text of a stream."""
        status, headers, text = self.raw("POST", path,
                                         {"model": self.model, **GREEDY, **body, "stream": True})
        assert status == 200, text
        assert headers["content-type"].startswith("text/event-stream")
        return text

    def metric(self, name):
        """Returns the sum of the samples with this name."""
        text = self.raw("GET", "/metrics")[2].decode()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
            if line.startswith(name + "{") or line.startswith(name + " "))

    def bad(self, **fields):
        """Sends a chat request that must be rejected with 400. Returns the error."""
        with pytest.raises(openai.BadRequestError) as error:
            self.chat(**fields)
        return error.value


@pytest.fixture(scope="module")
def server():
    if os.environ.get("PREFIXD_URL"):
        yield Server(os.environ["PREFIXD_URL"])
        return
    with Daemon("--context", str(CONTEXT)) as daemon:
        yield Server(daemon.url)


def parse_events(raw):
    """Checks the framing of a stream and returns the JSON of its events."""
    text = raw.decode("utf-8", errors="strict")
    assert text.endswith("data: [DONE]\n\n")
    events = text.split("\n\n")[:-2]
    assert all(
        event.startswith("data: ") and "\n" not in event for event in events if not event.startswith(":"))
    return [json.loads(event[6:]) for event in events if event.startswith("data: ")]
