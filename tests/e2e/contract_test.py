"""Tests of items of the conformance list in docs/API.md that have no better place: clients that try again or
raise, and what a template refuses."""

import http.server
import json
import threading

import openai
import pydantic
import pytest

from daemon import Daemon, wait_until

RAISING = ("{% for message in messages %}{% if 'forbidden' in message.content %}"
           "{{ raise_exception('That word comes never.') }}{% endif %}{{ message.content }}{% endfor %}")

WAITING = ("vllm:num_requests_waiting", (("model_name", "demo"),))


def client_of(daemon, **options):
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", **options)


def test_44_a_template_that_raises(tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text(RAISING)
    messages = [{"role": "user", "content": "forbidden"}]
    with Daemon("--chat-template", template) as daemon:
        bodies = {"/v1/chat/completions": {"messages": messages}, "/v1/responses": {"input": "forbidden"},
                  "/v1/messages": {"messages": messages, "max_tokens": 2}}
        for path, body in bodies.items():
            status, _, text = daemon.request("POST", path, body)
            assert status == 400 and "That word comes never." in text, (path, text)


def test_85_a_format_that_is_cut_raises_in_the_client():
    class Place(pydantic.BaseModel):
        name: str

    with Daemon() as daemon, pytest.raises(openai.LengthFinishReasonError):
        client_of(daemon).chat.completions.parse(
            model="demo", messages=[{"role": "user", "content": "Where?"}], response_format=Place,
            max_tokens=3)


class Counter(http.server.BaseHTTPRequestHandler):
    """Between a client and the daemon: counts the tries of the client."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tries.append(self.headers["X-Stainless-Retry-Count"])
        status, headers, text = self.server.answer or self.server.daemon.request("POST", self.path,
                                                                                 json.loads(body))
        self.send_response(status)
        for name in ("Content-Type", "Retry-After"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def test_134_135_a_full_queue_is_tried_again_and_a_wrong_request_is_not():
    with Daemon("--max-sequences", 1, "--max-queue", 1) as daemon:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter)
        server.daemon, server.tries, server.answer = daemon, [], None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="any",
                               max_retries=2)
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="demo", prompt="x", temperature=9)
        assert server.tries == ["0"]
        stream = daemon.start_stream(prompt="Once", max_tokens=3000, ignore_eos=True)
        waiting = daemon.connect()
        waiting.request("POST", "/v1/completions", json.dumps({"prompt": "x", "max_tokens": 3000}),
                        {"Content-Type": "application/json"})
        wait_until(lambda: daemon.metrics()[WAITING] == 1, "a request that waits")
        server.tries.clear()
        server.answer = status, headers, _ = daemon.request("POST", "/v1/completions", {"prompt": "x"})
        assert status == 429 and 1 <= int(headers["Retry-After"]) <= 60
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model="demo", prompt="x", max_tokens=1)
        assert server.tries == ["0", "1", "2"]
        server.shutdown()
        server.server_close()
        waiting.close()
        stream.close()


def test_log_probabilities_of_many_prompts():
    with Daemon() as daemon:
        answer = client_of(daemon).completions.create(model="demo", prompt=["One"] * 64, logprobs=1,
                                                      max_tokens=1)
        assert [len(choice.logprobs.tokens) for choice in answer.choices] == [1] * 64
