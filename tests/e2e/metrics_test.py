"""Reads /metrics of a running daemon with the Prometheus parser and checks its invariants after requests."""

import json

from daemon import MODEL, Daemon, wait_until

PROMPT = "prefixd never computes the same prompt prefix twice. " * 8


def total(samples, name):
    return sum(value for (found, _), value in samples.items() if found == name)


def test_counters_agree_after_requests():
    with Daemon() as daemon:
        before = daemon.metrics()
        assert total(before, "vllm:prompt_tokens_total") == 0
        assert ("prefixd_cache_miss_tokens_total", (("reason", "block_tail"),)) in before
        answers = [daemon.complete(prompt=PROMPT + tail, max_tokens=4) for tail in ("", "", "Now go on.")]
        usage = [answer["usage"] for answer in answers]
        cached = [u["prompt_tokens_details"]["cached_tokens"] for u in usage]
        assert cached[0] == 0 and cached[2] > 0
        assert cached[1] == usage[1]["prompt_tokens"] // 16 * 16  # everything except a partial last block
        for answer, u, c in zip(answers, usage, cached):
            headers = {name.lower(): value for name, value in answer["headers"].items()}
            assert int(headers["x-prefixd-cached-tokens"]) == c
            assert c + int(headers["x-prefixd-computed-tokens"]) == u["prompt_tokens"]

        after = daemon.metrics()
        assert set(before) <= set(after)
        prompt = sum(u["prompt_tokens"] for u in usage)
        assert total(after, "vllm:prompt_tokens_total") == prompt
        assert total(after, "prefixd_prompt_tokens_total") == prompt
        computed = after["prefixd_prompt_tokens_total", (("source", "computed"),)]
        assert computed == prompt - sum(cached) == total(after, "prefixd_cache_miss_tokens_total")
        assert total(after, "vllm:generation_tokens_total") == sum(u["completion_tokens"] for u in usage)
        assert total(after, "vllm:request_success_total") == 3
        assert after["prefixd_blocks", (("state", "leased"), ("tier", "device"))] == 0
        assert total(after, "prefixd_blocks") == total(before, "prefixd_blocks") > 0
        assert after["vllm:time_to_first_token_seconds_count", (("model_name", "demo"),)] == 3
        assert total(after, "vllm:num_requests_running") == 0
        for (name, labels), value in before.items():
            if name.endswith(("_total", "_count", "_bucket")):
                assert after[name, labels] >= value, name


def test_no_prefix_cache_computes_everything_and_gives_the_same_text():
    with Daemon("--no-prefix-cache") as daemon:
        texts = []
        for _ in range(2):
            answer = daemon.complete(prompt=PROMPT, max_tokens=8)
            assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
            texts.append(answer["choices"][0]["text"])
        assert texts[0] == texts[1]
        samples = daemon.metrics()
        disabled = samples["prefixd_cache_miss_tokens_total", (("reason", "disabled"),)]
        assert disabled == total(samples, "vllm:prompt_tokens_total") > 0
    with Daemon() as daemon:
        assert daemon.complete(prompt=PROMPT, max_tokens=8)["choices"][0]["text"] == texts[0]


def test_capacities_are_known_while_the_model_loads(tmp_path):
    config = json.loads((MODEL / "config.json").read_text())
    config["num_hidden_layers"] *= 40  # so that loading takes a moment
    (tmp_path / "config.json").write_text(json.dumps(config))
    with Daemon("--load", "dummy", "--context", 256, model=tmp_path, wait=False) as daemon:
        wait_until(lambda: daemon.logged("answering 503 until"), "the listener")
        daemon.url = next(line for line in daemon.log if "answering 503 until" in line).rsplit("address=")[1]
        scrapes = [daemon.metrics()]
        while scrapes[-1]["prefixd_ready", ()] == 0:
            scrapes.append(daemon.metrics())
        capacities = {scrape["prefixd_tier_capacity_bytes", (("tier", "device"),)] for scrape in scrapes}
        assert len(scrapes) > 1, "the model was there at once"
        assert len(capacities) == 1 and capacities.pop() > 0, "the plan says what the cache will be"
