"""Replays `turns` and `tenants` of bench/serve through a proxy that remembers what the daemon has computed,
and checks the reason of every prompt token that it computes: the proxy knows which blocks were computed
before, with which salt, which requests read no cache, and which answers have other tokens than were
generated."""

import collections
import http.server
import itertools
import json
import random
import subprocess
import threading

import pytest

from daemon import PATIENCE, ROOT, Daemon

SERVE = ROOT / "build/release/bench/serve_bench"
BLOCK = 16
SALTS = ("", "", "a", "b")


class Oracle:
    """What was computed, by the salt and all tokens up to the end of a block. The device cache is the only
    tier, so what was computed and is not there was evicted from it."""

    def __init__(self, text_of):
        self.text_of, self.computed, self.earlier = text_of, set(), []

    @staticmethod
    def blocks(salt, ids):
        return [(salt, tuple(ids[:end])) for end in range(BLOCK, len(ids) + 1, BLOCK)]

    def diverged(self, salt, prompt):
        """The text of an earlier request with its answer goes on, and its ids do not."""
        def common(ids):
            return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ids, prompt)))
        said = [ids for other, ids in self.earlier if other == salt]
        nearest = max(said, key=common, default=[])
        return common(nearest) < len(nearest) and self.text_of(prompt).startswith(self.text_of(nearest))

    def expected(self, body, prompt, cached):
        """The count of tokens by reason, and those that may be evicted or the tail of a block: the last block
        of a prompt that ends with it is never taken whole."""
        salt, blocks = body.get("cache_salt", ""), self.blocks(body.get("cache_salt", ""), prompt)
        if body.get("cache_prompt") is False:
            return collections.Counter({"disabled": len(prompt)}), 0
        counts, either = collections.Counter(), 0
        new = "template_diverged" if self.diverged(salt, prompt) else "never_seen"
        for token in range(cached, len(prompt)):
            if token // BLOCK >= len(blocks):
                counts["block_tail"] += 1
            elif blocks[token // BLOCK] not in self.computed:
                counts[new] += 1
            elif (token // BLOCK + 1) * BLOCK == len(prompt):
                either += 1
            else:
                counts["evicted_device"] += 1
        return counts, either

    def add(self, body, prompt, answer):
        ids = prompt + answer[:-1]  # there is no KV of the last token
        self.computed.update(self.blocks(body.get("cache_salt", ""), ids))
        self.earlier.append((body.get("cache_salt", ""), ids))


class Proxy:
    """Passes requests on, one at a time, changes some of them, and checks what the daemon says of each."""

    def __init__(self, daemon, seed):
        self.daemon, self.random, self.lock = daemon, random.Random(seed), threading.Lock()
        self.oracle = Oracle(lambda ids: self.post("/v1/detokenize", {"tokens": ids})["prompt"])
        self.seen, self.wrong = collections.Counter(), []

    def post(self, path, body):
        status, _, text = self.daemon.request("POST", path, body)
        assert status == 200, text
        return json.loads(text)

    def chat(self, body):
        """Returns the text of the stream."""
        salt, reads = self.random.choice(SALTS), self.random.random() < 0.9
        body = {**body, "return_token_ids": True, "cache_prompt": reads}
        if salt:
            body["cache_salt"] = salt
        status, _, text = self.daemon.request("POST", "/v1/chat/completions", body)
        assert status == 200, text
        chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        prompt = next(chunk["prompt_token_ids"] for chunk in chunks if chunk.get("prompt_token_ids"))
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        answer = [token for choice in choices for token in choice.get("token_ids") or []]
        told = json.loads(self.daemon.get(f"/v1/cache/explain?response_id={chunks[0]['id']}")[2])
        self.check(body, prompt, told)
        self.oracle.add(body, prompt, answer)
        return text

    def check(self, body, prompt, told):
        counts, either = self.oracle.expected(body, prompt, told["cached_tokens"])
        got = collections.Counter({reason: n for reason, n in told["miss_tokens"].items() if n > 0})
        self.seen.update(got)
        possible = [counts + collections.Counter({reason: either})
                    for reason in (("block_tail", "evicted_device") if either else ("block_tail",))]
        if got not in possible:
            self.wrong.append((dict(got), [dict(one) for one in possible], told))


def handler_of(proxy):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, kind, text):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            self.answer("application/json", proxy.daemon.get(self.path)[2].encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with proxy.lock:
                self.answer("text/event-stream", proxy.chat(body).encode())

    return Handler


@pytest.mark.parametrize("workload,extra,reasons", [
    ("turns", (), {"never_seen", "evicted_device", "block_tail", "disabled"}),
    ("tenants", ("--tenants", 6), {"never_seen", "evicted_device", "block_tail", "disabled"})])
def test_the_reason_of_every_miss_is_right(workload, extra, reasons):
    with Daemon("--block-tokens", BLOCK, "--context", 512, device_cache="2MiB") as daemon:
        proxy = Proxy(daemon, seed=5)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(proxy))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done = subprocess.run(
                [SERVE, f"http://127.0.0.1:{server.server_address[1]}", "--workload", workload,
                 *map(str, ("--clients", 2, "--prefix-words", 40, "--question-words", 8, "--output-tokens", 6,
                            "--requests", 36, *extra))],
                capture_output=True, text=True, timeout=PATIENCE)
        finally:
            server.shutdown()
            server.server_close()
        assert done.returncode == 0, done.stderr
        assert not proxy.wrong, proxy.wrong[0]
        assert reasons <= set(proxy.seen), proxy.seen
