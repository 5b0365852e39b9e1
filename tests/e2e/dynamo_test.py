"""Tests that Dynamo's select service, fed by KV events, says of each prompt how much of it is cached."""

import json

from daemon import Daemon, wait_until
from kv_endpoints import endpoint, ready
from kv_events_test import BLOCK, EVENTS, REPLAY, ask, first_batch, random_prompts, whole_blocks
from kv_subscriber import Subscriber
from router_program import Router, installed, program

pytestmark = installed("dynamo", "python")


class SelectService(Router):
    def __init__(self, folder):
        super().__init__(folder, program("dynamo", "python"), "-m", "dynamo.select_service")

    def register(self, daemon):
        self.ask("/workers", worker_id=1, model_name="demo", endpoint=daemon.url, block_size=BLOCK,
                 kv_events_endpoint=endpoint(daemon), replay_endpoint=endpoint(daemon, "replay"))

    def overlap(self, ids):
        """The tokens of a prompt that its worker has in GPU memory, in whole blocks."""
        return json.loads(self.ask("/select", model_name="demo", token_ids=ids))["overlap"]["gpu"]


def test_the_overlap_is_what_a_request_finds(tmp_path):
    prompts = random_prompts(3, 60)
    with (Daemon(*EVENTS, *REPLAY, device_cache="1MiB") as daemon, SelectService(tmp_path) as service,
          Subscriber(endpoint(ready(daemon))) as subscriber):
        first_batch(subscriber)
        for ids in prompts[:20]:  # before the service knows the daemon
            ask(daemon, ids)
        service.register(daemon)
        credited = 0
        for ids in prompts:
            blocks = subscriber.catch_up(endpoint(daemon, "replay")).credit(ids)
            wait_until(lambda: service.overlap(ids) == blocks * BLOCK, f"an overlap of {blocks} blocks")
            credit = min(blocks, (len(ids) - 1) // BLOCK)
            assert whole_blocks(ids, ask(daemon, ids)) == credit
            credited += credit
        assert credited > 50
