"""The recipes of docs/FLEET.md, run as they stand there, and its tables, computed again."""

import itertools
import json
import re
import shutil
import urllib.request

import pytest

from daemon import MODEL, PATIENCE, wait_until
from recipe import PAGE, Recipe
from router_program import ask, installed, program


def usage(text):
    return json.loads(text[text.index("{"):])["usage"]


def written(recipe, port):
    """The blocks that the daemon with this port has written to the remote cache."""
    rows = urllib.request.urlopen(recipe.url(port) + "/metrics", timeout=PATIENCE).read().decode()
    return float(re.search(r'prefixd_remote_writes_total{result="written"} (\S+)', rows)[1])


@installed("vllm-router")
def test_two_daemons_behind_vllm_router(tmp_path):
    with Recipe("Two daemons behind vllm-router", tmp_path, vllm_router=program("vllm-router")) as recipe:
        assert usage(recipe.run())["prompt_tokens"] > 0
        texts = [f"{i} is the number of this text, which keeps on for a while. " * 12 for i in range(4)]
        for i, text in enumerate(texts):
            ask(recipe.url(8081 + i % 2), "/v1/completions", model="demo", prompt=text, max_tokens=1)

        def cached(text):
            answer = ask(recipe.url(8080), "/v1/completions", model="demo", prompt=text, max_tokens=1)
            return usage(answer)["prompt_tokens_details"]["cached_tokens"]
        wait_until(lambda: all(cached(f"{text} more") >= 12 * 16 for text in texts), "the warm daemons")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_two_daemons_and_one_store(tmp_path):
    with Recipe("Two daemons and one store", tmp_path) as recipe:
        numbers = itertools.count()

        def second_loads():  # what is faster decides, so one time may not be enough
            prompt = f"{next(numbers)} is a prompt that the first daemon knows, and the second not yet. " * 8
            before = written(recipe, 8081)
            for _ in range(2):
                answer = ask(recipe.url(8081), "/v1/completions", prompt=prompt, max_tokens=1)
            blocks = (usage(answer)["prompt_tokens"] - 1) // 16
            wait_until(lambda: written(recipe, 8081) >= before + blocks, "the records")
            answer = recipe.run(PROMPT=prompt, MODEL=MODEL.name)
            source = re.search(r"x-prefixd-cache-source: .*remote=(\d+)", answer)
            return source is not None and int(source[1]) >= 16 * (blocks // 2)
        wait_until(second_loads, "a prompt from the store")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_prefill_on_one_daemon_and_decode_on_another(tmp_path):
    with Recipe("Prefill on one daemon, decode on another", tmp_path) as recipe:
        numbers = itertools.count()

        def decode_loads():  # what is faster decides, so one time may not be enough
            words = {"MODEL": MODEL.name, "PROMPT": f"{next(numbers)} is the number of a prompt. " * 40}
            before = written(recipe, 8081)
            tokens = usage(recipe.run(0, **words))["prompt_tokens"]
            wait_until(lambda: written(recipe, 8081) >= before + (tokens - 1) // 16, "the records")
            answer = recipe.run(1, **words)
            assert usage(answer)["completion_tokens"] > 1
            assert written(recipe, 8082) == 0
            return usage(answer)["prompt_tokens_details"]["cached_tokens"] >= tokens - 16
        wait_until(decode_loads, "a prompt of which decode computes a block at most")


def rows(first):
    """The rows of the table whose head begins with `first`, as lists of their cells."""
    lines = PAGE[PAGE.index(f"| {first} |"):].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text):
    return float(text.split()[0].replace(",", ""))


def test_the_sizes_of_models():
    table = rows("model")
    assert len(table) >= 6
    for name, *cells in table:
        layers, heads, dims, bf16, q8_0, gib = map(number, cells)
        token = 2 * layers * heads * dims
        assert (bf16, q8_0) == (2 * token, token * 17 // 16), name
        assert gib == round(bf16 * 16 * 1e6 / 2**30), name


def test_the_bandwidths():
    head = PAGE[PAGE.index("| bytes per token |"):].splitlines()[0]
    rates = [float(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) tokens/s", head)]
    assert len(rates) == 4
    for size, *cells in rows("bytes per token"):
        for rate, cell in zip(rates, cells, strict=True):
            assert number(cell) == pytest.approx(number(size) * rate * 8 / 1e9, rel=0.05), (size, rate)
