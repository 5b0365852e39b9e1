"""Reads KV events as routers do: with pyzmq, and with msgspec in structs with the fields of vLLM 0.32
(vllm/distributed/kv_events.py), which refuse what they do not know. Keeps what the events say a worker has.
"""

import time

import msgspec
import zmq

END = 2**64 - 1  # the number that ends a replay


class Event(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """The base of the events: a map with its type."""


class BlockStored(Event):
    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[list | None] | None = None


class BlockRemoved(Event):
    block_hashes: list[int]
    medium: str | None


class AllBlocksCleared(Event):
    pass


class EventBatch(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    ts: float
    events: list[BlockStored | BlockRemoved | AllBlocksCleared]
    data_parallel_rank: int | None


DECODER = msgspec.msgpack.Decoder(EventBatch)


class Blocks:
    """The blocks of a worker, as its events tell: where each lies, and the tokens up to its end."""

    def __init__(self):
        self.media = {}   # hash: set of media
        self.prefix = {}  # hash: (extra keys of the first block, all tokens up to its end)
        self.orphans = 0  # stored after a parent that is not known

    def apply(self, batch):
        for event in batch.events:
            if isinstance(event, AllBlocksCleared):
                self.media, self.prefix = {}, {}
            elif isinstance(event, BlockRemoved):
                for block in event.block_hashes:
                    self.media[block].remove(event.medium)  # KeyError: it was not announced
                    if not self.media[block]:
                        del self.media[block], self.prefix[block]
            else:
                self.store(event)

    def store(self, event):
        size, parent = event.block_size, event.parent_block_hash
        assert len(event.token_ids) == size * len(event.block_hashes)
        if parent is None:
            extra = tuple((event.extra_keys or [None])[0] or ())
            before = (extra, ())
        elif parent in self.prefix:
            before = self.prefix[parent]
        else:
            self.orphans += 1
            return
        for i, block in enumerate(event.block_hashes):
            before = (before[0], before[1] + tuple(event.token_ids[i * size:(i + 1) * size]))
            assert self.prefix.setdefault(block, before) == before
            media = self.media.setdefault(block, set())
            assert event.medium not in media, "announced twice"
            media.add(event.medium)

    def credit(self, ids, block_tokens=16):
        """How many leading blocks of these tokens the worker has, in any medium and without extra keys."""
        known = {tokens for extra, tokens in self.prefix.values() if not extra}
        blocks = 0
        while (blocks + 1) * block_tokens <= len(ids) and tuple(ids[:(blocks + 1) * block_tokens]) in known:
            blocks += 1
        return blocks


class Subscriber:
    """A subscriber to one worker. Its numbers must be contiguous from the first one on."""

    def __init__(self, endpoint, after=None):
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.subscribe(b"")
        self.socket.connect(endpoint)
        self.last = after
        self.first_events = None
        self.topics = set()
        self.blocks = Blocks()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self, seconds):
        """Applies one batch. Returns whether there was one within so many seconds."""
        if not self.socket.poll(1000 * seconds):
            return False
        topic, number, payload = self.socket.recv_multipart()
        number = int.from_bytes(number, "big")
        assert self.last is None or number == self.last + 1, f"{number} after {self.last}"
        self.last = number
        self.topics.add(topic.decode())
        batch = DECODER.decode(payload)
        self.first_events = self.first_events or batch.events
        self.blocks.apply(batch)
        return True

    def catch_up(self, replay_endpoint):
        """Applies all that the worker has published by now. It publishes what a request has changed before it
        answers a replay that is asked for after the answer of the request."""
        numbers = [number for _, number, _ in replay(replay_endpoint, self.last + 1)]
        while numbers and self.last < numbers[-1]:
            assert self.receive(60), f"{numbers[-1]} was published, and has not come after {self.last}"
        return self.blocks

    def wait(self, condition, what):
        """Applies what comes until condition(blocks) is true."""
        deadline = time.monotonic() + 60
        while not condition(self.blocks):
            assert time.monotonic() < deadline, f"timed out waiting for: {what}"
            self.receive(0.1)


def replay(endpoint, start):
    """Asks for the batches from a number on. Returns them as (topic, number, batch)."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    socket.send_multipart([b"", start.to_bytes(8, "big")])
    batches = []
    while True:
        assert socket.poll(60_000), "no end of the replay"
        empty, topic, number, payload = socket.recv_multipart()
        assert empty == b""
        if int.from_bytes(number, "big") == END:
            assert (topic, payload) == (b"", b"")
            socket.close()
            return batches
        batches.append((topic.decode(), int.from_bytes(number, "big"), DECODER.decode(payload)))
