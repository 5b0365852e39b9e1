"""Replays `turns` and `tenants` of bench/serve through a proxy that remembers what the daemon has computed,
and checks the reason of every prompt token that it computes. What was computed, with which salt, which
requests read no cache, and which answers have other tokens than were generated, the proxy knows of itself.
Which tier lost a block last, the KV events say."""

import collections
import http.server
import itertools
import json
import random
import subprocess
import threading

import pytest

from daemon import PATIENCE, ROOT, Daemon, wait_until
from kv_endpoints import endpoint, ready
from kv_events_test import EVENTS, REPLAY, first_batch
from kv_subscriber import BlockStored, Subscriber

SERVE = ROOT / "build/release/bench/serve_bench"
BLOCK = 16
SALTS = ("", "", "a", "b")
LOST_BY = {"GPU": "evicted_device", "CPU": "evicted_host", "DISK": "evicted_disk"}


class Residency:
    """Why a request would compute a block: `device` or `lower` while a tier has it, and otherwise the reason
    of the tier that lost it last. A block is the key of its namespace, and the tokens up to its end."""

    def __init__(self, lost_by):
        self.lost_by = lost_by
        self.otherwise = None  # the state of blocks of which no event has spoken
        self.media = collections.defaultdict(set)  # this and the next ones are by the hash of events
        self.now, self.since, self.taken = {}, {}, set()
        self.parts = {}                # parent, extra keys and tokens of blocks whose parent is not known yet
        self.prefix, self.of = {}, {}  # the block of a hash, also of those that are gone, and the reverse

    def apply(self, batch):
        for event in batch.events:
            if isinstance(event, BlockStored):
                self._store(event)
            for block in getattr(event, "block_hashes", ()):
                media = self.media[block]
                (media.add if isinstance(event, BlockStored) else media.remove)(event.medium)
                self._note(block, "device" if "GPU" in media else "lower" if media
                           else self.lost_by[event.medium])

    def _store(self, event):
        """The last blocks of a prefix may be loaded first, so the parent may come later."""
        size, parent = event.block_size, event.parent_block_hash
        extra = tuple((event.extra_keys or [None])[0] or ())
        for i, block in enumerate(event.block_hashes):
            self.parts[block] = parent, extra, tuple(event.token_ids[i * size:(i + 1) * size])
            parent = block
        known = (None, *self.prefix)
        while named := [block for block, part in self.parts.items() if part[0] in known]:
            known = named
            for block in named:
                parent, extra, tokens = self.parts.pop(block)
                extra, before = self.prefix.get(parent, (extra, ()))
                self.prefix[block] = extra, before + tokens
                self.of[self.prefix[block]] = block

    def _note(self, block, state):
        since = self.since.setdefault(block, {self.now.get(block, self.otherwise)})
        if state == "device" and self.now.get(block) != "device":
            self.taken.add(block)  # loaded or computed, now that it was missed
        if block not in self.taken:
            since.add(state)
        self.now[block] = state

    def begin(self):
        self.since, self.taken = {}, set()

    def states(self, prefix):
        """All states since `begin` until it was there; None: it was never there."""
        block = self.of.get(prefix)
        return self.since.get(block, {self.now.get(block, self.otherwise)})


class Oracle:
    """What was computed since the start of the daemon, and the prompts with their answers."""

    def __init__(self, text_of):
        self.text_of, self.computed, self.earlier = text_of, set(), []
        self.of_other_model = set()  # blocks that another model has on the disk

    @staticmethod
    def blocks(space, ids):
        return [(space, tuple(ids[:end])) for end in range(BLOCK, len(ids) + 1, BLOCK)]

    def diverged(self, space, prompt):
        """The text of an earlier request with its answer goes on, and its ids do not."""
        def common(ids):
            return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ids, prompt)))
        said = [ids for other, ids in self.earlier if other == space]
        nearest = max(said, key=common, default=[])
        return common(nearest) < len(nearest) and self.text_of(prompt).startswith(self.text_of(nearest))

    def add(self, space, prompt, answer):
        ids = prompt + answer[:-1]  # there is no KV of the last token
        self.computed.update(self.blocks(space, ids))
        self.earlier.append((space, ids))

    def possible(self, space, prompt, cached, residency):
        """The counts of tokens by reason that are right, when so many tokens were cached. There are several
        where a tier lost a block while the request began, and when a block ends the prompt: that one is never
        taken whole. What a lower tier has may be loaded behind what is computed."""
        blocks = self.blocks(space, prompt)
        new = "template_diverged" if self.diverged(space, prompt) else "never_seen"
        loads = any("lower" in residency.states(block) for block in blocks)
        foreign = sum(1 for _ in itertools.takewhile(self.of_other_model.__contains__, blocks))
        found = {(None, 0, ())}  # the last reason, the cached tokens, and the counts
        for index in range((len(prompt) - 1) // BLOCK + 1):
            tokens = min(len(prompt), (index + 1) * BLOCK) - index * BLOCK
            states = residency.states(blocks[index]) if index < len(blocks) else {None}
            next_found = set()
            for last, taken, counts in found:
                first, ends = "other_model" if index < foreign else new, (index + 1) * BLOCK == len(prompt)
                reasons = self._reasons(blocks, index, last, first, ends, states)
                copied = {0, cached % BLOCK} if last is None or loads else {0}  # a part of a block
                parts = [(reason, taken + part) for reason in reasons for part in copied if part < tokens]
                if states & {"device", "lower"} and index < len(blocks) and blocks[index] in self.computed:
                    parts.append((None, taken + tokens))
                for reason, now in parts:
                    if now > cached:
                        continue
                    added = collections.Counter(dict(counts))
                    if reason:
                        added[reason] += tokens - (now - taken)
                    next_found.add((reason or last, now, tuple(sorted(added.items()))))
            found = next_found
        return [collections.Counter(dict(counts))
                for counts in {counts for _, taken, counts in found if taken == cached}]

    def _reasons(self, blocks, index, last, new, ends, states):
        """Why a block is computed."""
        if index >= len(blocks):
            return {"block_tail"}
        if blocks[index] not in self.computed:
            return {new}
        reasons = {"block_tail"} if ends else set()
        for state in states:
            if state == "lower":
                reasons.add("load_slower")
            elif state != "device":
                reasons.add(state or "never_seen")
            elif last:  # it is of no help behind a block that is missing
                reasons.add(last)
        return reasons


class Proxy:
    """Passes requests on, one at a time, changes some of them, and checks what the daemon says of each."""

    def __init__(self, daemon, router, seed):
        self.daemon, self.router, self.random = daemon, router, random.Random(seed)
        self.lock, self.replays = threading.Lock(), endpoint(daemon, "replay")
        self.oracle = Oracle(lambda ids: self.post("/v1/detokenize", {"tokens": ids})["prompt"])
        self.seen, self.wrong, self.open = collections.Counter(), [], 0
        first_batch(router)
        self.spaces = {salt: self.space_of(salt, 20 + number) for number, salt in enumerate(set(SALTS))}

    def space_of(self, salt, token):
        """The key that events have for the namespace of a salt."""
        self.daemon.complete(prompt=[token] * (BLOCK + 1), max_tokens=1, **self.field(salt))
        prefixes = self.router.catch_up(self.replays).prefix.values()
        return next(extra for extra, tokens in prefixes if tokens == (token,) * BLOCK)

    @staticmethod
    def field(salt):
        return {"cache_salt": salt} if salt else {}

    def post(self, path, body):
        status, _, text = self.daemon.request("POST", path, body)
        assert status == 200, text
        return json.loads(text)

    def chat(self, body):
        """Returns the text of the stream."""
        salt, reads = self.random.choice(SALTS), self.random.random() < 0.9
        body = {**body, "return_token_ids": True, "cache_prompt": reads, **self.field(salt)}
        self.router.catch_up(self.replays).begin()
        status, _, text = self.daemon.request("POST", "/v1/chat/completions", body)
        assert status == 200, text
        chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        prompt = next(chunk["prompt_token_ids"] for chunk in chunks if chunk.get("prompt_token_ids"))
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        answer = [token for choice in choices for token in choice.get("token_ids") or []]
        told = json.loads(self.daemon.get(f"/v1/cache/explain?response_id={chunks[0]['id']}")[2])
        self.router.catch_up(self.replays)
        self.check(self.spaces[salt], prompt, reads, told)
        self.oracle.add(self.spaces[salt], prompt, answer)
        return text

    def check(self, space, prompt, reads, told):
        got = collections.Counter({reason: n for reason, n in told["miss_tokens"].items() if n > 0})
        self.seen.update(got)
        possible = [collections.Counter({"disabled": len(prompt)})] if not reads else self.oracle.possible(
            space, prompt, told["cached_tokens"], self.router.blocks)
        self.open += len(possible) > 2
        if got not in possible:
            self.wrong.append((dict(got), [dict(one) for one in possible], told))

    def replay(self, workload, **options):
        """Runs a workload of bench/serve through this proxy, and checks the counters against what it saw."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"clients": 2, "prefix-words": 40, "question-words": 8, "output-tokens": 6, "requests": 36,
                   **options}
        flags = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        try:
            done = subprocess.run([SERVE, f"http://127.0.0.1:{server.server_address[1]}", "--workload",
                                   workload, *flags], capture_output=True, text=True, timeout=PATIENCE)
        finally:
            server.shutdown()
            server.server_close()
        assert done.returncode == 0, done.stderr
        assert not self.wrong, self.wrong[0]
        if "--disk-cache-dir" not in self.daemon.options:
            assert self.open * 5 <= options["requests"], "the oracle hardly knows what is right"
        assert self.seen["load_slower"] * 20 <= sum(self.seen.values()), "--load-policy load"

    def evictions(self, tier):
        return self.daemon.metrics()["prefixd_tier_evictions_total", (("tier", tier),)]


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


class Watched:
    """A context manager that runs a daemon with a proxy before it."""

    def __init__(self, *options, device_cache, seed=5, lost_by=None):
        self.seed, self.lost_by = seed, {**LOST_BY, **(lost_by or {})}
        self.daemon = Daemon("--block-tokens", BLOCK, "--context", 512, *EVENTS, *REPLAY,
                             "--kv-events-tenants", *options, device_cache=device_cache)

    def __enter__(self):
        self.subscriber = Subscriber(endpoint(ready(self.daemon)))
        self.subscriber.blocks = Residency(self.lost_by)
        return Proxy(self.daemon, self.subscriber, self.seed)

    def __exit__(self, *problem):
        self.subscriber.__exit__()
        if problem == (None, None, None):
            self.daemon.signal()
            assert self.daemon.exit_code() == 0
        self.daemon.__exit__()


def disk(folder, size="64MiB"):
    return ("--disk-cache-dir", folder / "kv", "--disk-cache", size, "--disk-write-through",
            "--disk-compression", "off", "--load-policy", "load")


@pytest.mark.parametrize("workload,extra", [("turns", {}), ("tenants", {"tenants": 6})])
def test_the_reason_of_every_miss_is_right(workload, extra):
    with Watched(device_cache="2MiB") as proxy:
        proxy.replay(workload, **extra)
        assert {"never_seen", "evicted_device", "block_tail", "disabled"} <= set(proxy.seen), proxy.seen


def test_what_host_memory_has_lost_is_told_apart():
    with Watched("--host-cache", "1MiB", "--load-policy", "load", device_cache="2MiB") as proxy:
        proxy.replay("turns")
        assert {"never_seen", "evicted_host"} <= set(proxy.seen), proxy.seen


def test_what_a_full_disk_has_lost_is_told_apart(tmp_path):
    """A small disk drops and writes records at any time, also while a request begins."""
    with Watched(*disk(tmp_path, "8MiB"), device_cache="2MiB") as proxy:
        proxy.replay("tenants", **{"tenants": 16, "requests": 120, "prefix-words": 80})
        assert proxy.evictions("disk") > 0
        assert {"never_seen", "evicted_disk"} <= set(proxy.seen), proxy.seen
        assert not {"evicted_host", "expired", "corrupt"} & set(proxy.seen), proxy.seen


def test_what_is_too_old_says_so(tmp_path):
    options = (*disk(tmp_path), "--disk-max-age", "1s")
    with Watched(*options, device_cache="2MiB", lost_by={"DISK": "expired"}) as proxy:
        proxy.replay("tenants", tenants=6, requests=18)
        proxy.router.wait(lambda blocks: not any("DISK" in media for media in blocks.media.values()),
                          "the end of the records")
        proxy.replay("tenants", tenants=6, requests=18)
        assert proxy.evictions("disk") == 0
        assert {"never_seen", "expired"} <= set(proxy.seen), proxy.seen


@pytest.mark.parametrize("has_disk,then,reason", [
    (False, (), "never_seen"), (True, (), None), (True, ("--kv-dtype", "f16"), "other_model")])
def test_a_restart_forgets_what_is_not_on_the_disk(tmp_path, has_disk, then, reason):
    """KV of another type is another model's. One client sends the same requests in the same order again, so
    that they get the same salts."""
    options = disk(tmp_path) if has_disk else ()
    with Watched(*options, device_cache="4MiB") as proxy:
        proxy.replay("tenants", tenants=6, clients=1)
        salts = {space: salt for salt, space in proxy.spaces.items()}
        computed = {(salts[space], tokens) for space, tokens in proxy.oracle.computed}
    with Watched(*options, *then, device_cache="4MiB") as proxy:
        if has_disk:
            wait_until(lambda: proxy.daemon.logged("the disk cache is scanned"), "the scan")
        computed = {(proxy.spaces[salt], tokens) for salt, tokens in computed}
        if reason is None:
            proxy.oracle.computed, proxy.router.blocks.otherwise = computed, "lower"
        elif has_disk:
            proxy.oracle.of_other_model = computed
        proxy.replay("tenants", tenants=6, clients=1)
        assert not any("evicted" in seen for seen in proxy.seen), proxy.seen
        found = {seen for seen in proxy.seen if seen not in ("block_tail", "disabled", "load_slower")}
        assert found == ({reason} if reason else set()), proxy.seen
