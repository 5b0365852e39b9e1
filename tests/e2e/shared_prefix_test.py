"""Sends equal prompts at once to a daemon with a used cache, and counts the prompt tokens that it computes.

A shared prefix is computed once, whatever the tree holds: for equal prompts of P tokens, the first choice
computes at most P tokens and each further one less than a block.
"""

import concurrent.futures
import random

import pytest
from daemon import Daemon, wait_until

PROMPT_TOKENS = 2000
BLOCK = 16


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--context", 2100) as running:
        yield running


def counters(daemon):
    samples = daemon.metrics()
    asked = sum(v for (name, _), v in samples.items() if name == "vllm:prompt_tokens_total")
    return asked, samples["prefixd_prompt_tokens_total", (("source", "computed"),)]


def send(daemon, prompts, choices=1):
    """Sends the prompts at once. Returns how many prompt tokens were computed for them."""
    asked, computed = counters(daemon)
    expected = asked + sum(map(len, prompts)) * choices
    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as threads:
        ask = lambda prompt: daemon.complete(prompt=prompt, n=choices, max_tokens=2, ignore_eos=True)
        for answer in threads.map(ask, prompts):
            assert len(answer["choices"]) == choices
    wait_until(lambda: counters(daemon)[0] >= expected, "the counters of all answers")
    asked, after = counters(daemon)
    assert asked == expected
    return after - computed


def token_ids(seed, count=PROMPT_TOKENS):
    return random.Random(seed).choices(range(300, 2000), k=count)


def used_trees():
    for shared in (1, 7, 15, 16, 17, 40):
        yield f"shares-{shared}", lambda prompt, n=shared: prompt[:n] + token_ids(n, 2 * BLOCK)
    for block in (0, 1, 2, 31, 62, 123, 124):
        yield f"leaves-in-block-{block}", lambda prompt, n=block: prompt[:n * BLOCK + 5] + token_ids(n, 40)


@pytest.mark.parametrize("name", dict(used_trees()))
def test_equal_prompts_at_once_are_computed_once(daemon, name):
    used = dict(used_trees())[name]
    for requests, choices in ((1, 8), (16, 8), (64, 1)):
        prompt = token_ids(f"{name} {requests}")
        send(daemon, [used(prompt)])
        computed = send(daemon, [prompt] * requests, choices)
        assert computed <= PROMPT_TOKENS + BLOCK * (requests * choices - 1), (requests, choices)
        assert computed >= 1
