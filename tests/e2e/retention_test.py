"""Checks with the official clients what requests say of the cache: what is to be kept survives what evicts
everything else, within the budget; what is not to be written is not; and a request can compute its prompt
alone."""

import random

import anthropic
import openai
import pytest

from daemon import Daemon, wait_until

BLOCK = 16
RULES = "You answer questions about prefixd, a cache of prompts. " * 5
OTHERS = "These rules are of somebody who keeps nothing in any cache. " * 5
MODEL = {"model": "demo", "temperature": 0}


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--block-tokens", BLOCK, "--context", 512, "--max-sequences", 4,
                device_cache="4MiB") as started:
        yield started


@pytest.fixture(scope="module")
def client(daemon):
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)


@pytest.fixture(scope="module")
def messages_client(daemon):
    return anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)


def capacity(daemon):
    samples = daemon.metrics()
    return sum(value for (name, labels), value in samples.items()
               if name == "prefixd_blocks" and ("tier", "device") in labels)


def flood(daemon, number):
    """Fills the cache several times with prompts that never return."""
    length = 20 * BLOCK
    for i in range(int(3 * capacity(daemon) * BLOCK / length) + 1):
        prompt = [5 + (number * 7919 + i * 131 + k * k) % 200 for k in range(length)]
        daemon.complete(prompt=prompt, max_tokens=1)


def parts(text, **mark):
    return [{"type": "text", "text": text, **mark}]


def chat(client, system, question, **fields):
    return client.chat.completions.create(
        messages=[{"role": "system", "content": system}, {"role": "user", "content": question}],
        **{**MODEL, "max_tokens": 2, **fields}).usage


def test_a_breakpoint_survives_a_flood_and_ends_where_the_part_ends(daemon, client):
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    first = chat(client, parts(RULES, **mark), "What is it?").prompt_tokens_details
    assert first.retained_tokens % BLOCK != 0, "the test wants an end within a block"
    assert first.cache_write_tokens_details["ttl_12h_tokens"] >= first.retained_tokens // BLOCK * BLOCK
    chat(client, OTHERS, "What is it?")
    flood(daemon, 1)
    assert chat(client, RULES, "Why?").prompt_tokens_details.cached_tokens >= first.retained_tokens
    assert chat(client, OTHERS, "Why?").prompt_tokens_details.cached_tokens < BLOCK * 2


def test_a_marked_prompt_is_the_same_as_one_without_marks(daemon):
    def prompt(content):
        body = {"messages": [{"role": "system", "content": content}, {"role": "user", "content": "Why?"}]}
        return daemon.request("POST", "/tokenize", body)[2]
    assert prompt(parts(RULES, cache_control={"type": "ephemeral"})) == prompt(RULES)


def test_cache_control_keeps_and_says_for_how_long(daemon, messages_client):
    def send(system, question):
        return messages_client.messages.create(model="demo", max_tokens=2, system=system, messages=[
            {"role": "user", "content": question}]).usage
    text = "Anthropic keeps this part for an hour when a block asks for it. " * 4
    marked = parts(text, cache_control={"type": "ephemeral", "ttl": "1h"})
    first = send(marked, "What?")
    kept = first.cache_retained_input_tokens
    assert kept > 3 * BLOCK
    hour, minutes = (getattr(first.cache_creation, f"ephemeral_{ttl}_input_tokens") for ttl in ("1h", "5m"))
    assert hour + minutes == first.cache_creation_input_tokens
    assert hour >= kept // BLOCK * BLOCK
    flood(daemon, 2)
    assert send(text, "Why?").cache_read_input_tokens >= kept


def test_responses_keep_parts_of_their_input(daemon, client):
    text = "Items of a response have parts, and a part can end a prefix. " * 4
    def send(question, **mark):
        content = [{"type": "input_text", "text": text, **mark}, {"type": "input_text", "text": question}]
        answer = client.responses.create(**MODEL, max_output_tokens=2,
                                         input=[{"role": "user", "content": content}])
        return answer.usage.input_tokens_details
    first = send("What?", prompt_cache_breakpoint={"mode": "explicit"})
    assert first.retained_tokens > 3 * BLOCK
    flood(daemon, 3)
    assert send("Why?").cached_tokens >= first.retained_tokens


def test_only_breakpoints_are_written_in_the_mode_explicit(client):
    explicit = {"extra_body": {"prompt_cache_options": {"mode": "explicit"}}}
    text = "Nothing of this text may enter the cache without a breakpoint. " * 4
    for _ in range(2):
        usage = chat(client, text, "What?", **explicit).prompt_tokens_details
        assert usage.cached_tokens == usage.cache_write_tokens == 0
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    chat(client, parts(text, **mark), "What is the question?" * 4, **explicit)
    again = chat(client, parts(text, **mark), "What is the question?" * 4, **explicit).prompt_tokens_details
    assert again.cached_tokens == again.retained_tokens > 3 * BLOCK


def test_who_keeps_everything_gets_the_budget(daemon, client):
    kept = refused = 0
    for i in range(12):
        usage = chat(client, f"{i} is the number of this prompt. " * 12, "What?",
                     extra_body={"prompt_cache_options": {"ttl": "1h"}})
        kept += usage.prompt_tokens_details.retained_tokens
        refused += usage.prompt_tokens - usage.prompt_tokens_details.retained_tokens
    samples, blocks = daemon.metrics(), capacity(daemon)
    device = (("tier", "device"),)
    assert samples["prefixd_retained_bytes", device] <= samples["prefixd_retained_bytes_limit", device]
    block_bytes = samples["prefixd_tier_capacity_bytes", device] / blocks
    assert samples["prefixd_retained_bytes_limit", device] == blocks // 4 * block_bytes
    assert 0 <= kept <= blocks / 4 * BLOCK and refused > 0
    assert samples["prefixd_retention_tokens_total", (("result", "refused"),)] > 0
    assert samples["prefixd_retention_refused_blocks_total", device] > 0


PREWARMS = {
    "chat": lambda c, a, text, **more: c.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": text}], **more),
    "completions": lambda c, a, text, **more: c.completions.create(model="demo", prompt=text, **more),
    "responses": lambda c, a, text, **more: c.responses.create(model="demo", input=text, **more),
    "messages": lambda c, a, text, **more: a.messages.create(
        model="demo", messages=[{"role": "user", "content": text}], **more),
}


def counts(name, usage):
    """The tokens read from the cache, and those of the answer."""
    if name == "messages":
        return usage.cache_read_input_tokens, usage.output_tokens
    if name == "responses":
        return usage.input_tokens_details.cached_tokens, usage.output_tokens
    return usage.prompt_tokens_details.cached_tokens, usage.completion_tokens


@pytest.mark.parametrize("name", PREWARMS)
@pytest.mark.parametrize("how", ["length", "prewarm"])
def test_a_prompt_is_warmed_without_an_answer(client, messages_client, name, how):
    text = f"A prompt for {name} that is computed before anybody asks, by {how}. " * 4
    field = "max_output_tokens" if name == "responses" else "max_tokens"
    warm = {field: 0} if how == "length" else {
        field: 8, "extra_body": {"prompt_cache_options": {"prewarm": True}}}
    send = PREWARMS[name]
    cached, answered = counts(name, send(client, messages_client, text, **warm).usage)
    assert answered == 0 and cached < 2 * BLOCK
    cached, answered = counts(name, send(client, messages_client, text, **{field: 2}).usage)
    assert answered > 0 and cached >= 3 * BLOCK


@pytest.mark.parametrize("fields, param", [
    ({"prompt_cache_options": {"mode": "auto"}}, "prompt_cache_options.mode"),
    ({"prompt_cache_options": {"ttl": "2d"}}, "prompt_cache_options.ttl"),
    ({"prompt_cache_options": {"ttl": "25h"}}, "prompt_cache_options.ttl"),
    ({"prompt_cache_retention": "forever"}, "prompt_cache_retention"),
    ({"messages": [{"role": "user", "content": parts("a", cache_control={"ttl": "0m"})}]},
     "messages[0].content[0].cache_control.ttl"),
    ({"messages": [{"role": "user", "content": parts("a", prompt_cache_breakpoint=True)}]},
     "messages[0].content[0].prompt_cache_breakpoint"),
])
def test_a_wrong_field_is_named(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "a"}],
                                       extra_body=fields)
    assert refused.value.param == param


def test_a_session_hint_deletes_nothing_and_is_scored(daemon):
    def wrong(hint):
        return daemon.metrics()["prefixd_session_hint_blocks_total", (("hint", hint), ("outcome", "wrong"))]
    for number, hint in enumerate(["ended", "one_shot"]):
        prompt, before = list(range(300 + 100 * number, 300 + 100 * number + 4 * BLOCK)), wrong(hint)
        daemon.complete(prompt=prompt, max_tokens=1, prefixd_session=hint)
        again = daemon.complete(prompt=prompt, max_tokens=1)["usage"]["prompt_tokens_details"]
        assert again["cached_tokens"] >= 3 * BLOCK
        assert wrong(hint) - before >= 3
    status, _, text = daemon.request("POST", "/v1/completions", {
        "model": "demo", "prompt": "a", "prefixd_session": "never"})
    assert status == 400 and "prefixd_session" in text and "never" in text


DISK = (("tier", "disk"),)


def random_prompt(draw):
    return [draw.randrange(1, 2000) for _ in range(20 * BLOCK)]


def test_what_is_kept_survives_on_the_disk_over_a_restart(tmp_path):
    """Each process evicts twice what the disk holds. The third daemon keeps what the first was asked to."""
    options = ["--context", 512, "--block-tokens", BLOCK, "--disk-cache-dir", tmp_path / "cache",
               "--disk-cache", "8MiB", "--disk-write-through", "--load-policy", "load"]

    def flood_disk(daemon, seed):
        draw, evictions = random.Random(seed), ("prefixd_tier_evictions_total", DISK)
        records = ("prefixd_blocks", (("state", "cached"), ("tier", "disk")))
        for _ in range(300):
            for _ in range(10):
                daemon.complete(prompt=random_prompt(draw), max_tokens=1)
            samples = daemon.metrics()
            if samples[evictions] > 2 * samples[records] > 0:
                return
        raise AssertionError("the disk does not fill")

    kept, other = [list(range(start, start + 7 * BLOCK)) for start in (100, 500)]
    with Daemon(*options, device_cache="1MiB") as first:
        usage = first.complete(prompt=kept, max_tokens=1, prompt_cache_options={"ttl": "1h"})["usage"]
        assert usage["prompt_tokens_details"]["retained_tokens"] == len(kept)
        wait_until(lambda: first.metrics()["prefixd_spill_pending_bytes", ()] == 0, "records")
        flood_disk(first, 1)
        first.complete(prompt=other, max_tokens=1)  # not in a segment with what is kept
        retained = first.metrics()["prefixd_retained_bytes", DISK]
        assert retained > 0
    for seed in (2, 3):
        with Daemon(*options, device_cache="1MiB") as again:
            wait_until(lambda: again.metrics()["prefixd_retained_bytes", DISK] == retained, "the scan")
            flood_disk(again, seed)
            answer = again.complete(prompt=kept, max_tokens=1)
            assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= 6 * BLOCK, seed
            assert again.metrics()["prefixd_prompt_tokens_total", (("source", "disk"),)] >= 6 * BLOCK
            evicted = again.complete(prompt=other, max_tokens=1)["usage"]["prompt_tokens_details"]
            assert evicted["cached_tokens"] == 0


def test_who_keeps_everything_gets_the_budget_of_the_disk(tmp_path):
    """The device may keep 256 KiB. What the disk has room for is written at its first use, and no more."""
    draw = random.Random(1)
    with Daemon("--context", 512, "--block-tokens", BLOCK, "--disk-cache-dir", tmp_path / "cache",
                "--disk-cache", "8MiB", device_cache="1MiB") as daemon:
        def value(name, labels=DISK):
            return daemon.metrics()[name, labels]
        for _ in range(40):
            for _ in range(10):
                daemon.complete(prompt=random_prompt(draw), max_tokens=1, prompt_cache_options={"ttl": "1h"})
            wait_until(lambda: value("prefixd_spill_pending_bytes", ()) == 0, "records")
            if value("prefixd_retention_refused_blocks_total"):
                break
        limit = value("prefixd_retained_bytes_limit")
        assert 0.9 * limit < value("prefixd_retained_bytes") <= limit
        written = value("prefixd_tier_written_bytes_total")
        retained = 0  # little: where requests that run need blocks of the device, it has room again
        for _ in range(20):
            usage = daemon.complete(prompt=random_prompt(draw), max_tokens=1,
                                    prompt_cache_options={"ttl": "1h"})["usage"]
            retained += usage["prompt_tokens_details"]["retained_tokens"]
        assert retained < 0.1 * 20 * 20 * BLOCK
        wait_until(lambda: value("prefixd_spill_pending_bytes", ()) == 0, "records")
        assert value("prefixd_tier_written_bytes_total") - written < 0.1 * limit
        assert value("prefixd_retained_bytes") <= limit
