"""Long steps: the gauges stay true, the watchdog is fed, and a cancelled prompt ends with its step.

The backend `ref` is slow enough that a step of 512 tokens of the demo model takes seconds.
"""

import json
import socket

from daemon import Daemon, wait_until

PROMPT_TOKENS = 3500
LONG_STEPS = ("--backend", "ref", "--step-seconds", 3600)


def send(daemon, seed, tokens):
    """Sends a request with a prompt of its own, and returns the connection. The answer comes later."""
    connection = daemon.connect()
    prompt = [3 + (seed * 977 + i * i) % 1900 for i in range(tokens)]
    body = {"model": "demo", "prompt": prompt, "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection


def total(samples, name, **labels):
    return sum(value for (found, those), value in samples.items()
               if found == name and set(labels.items()) <= set(those))


def gauges(daemon):
    samples = daemon.metrics()
    return total(samples, "vllm:num_requests_running"), total(samples, "vllm:num_requests_waiting")


def steps(daemon):
    return total(daemon.metrics(), "prefixd_step_seconds_count")


def test_the_gauges_are_true_in_every_scrape_during_long_steps():
    with Daemon(*LONG_STEPS, "--max-sequences", 1) as daemon:
        connections = [send(daemon, 1, PROMPT_TOKENS)]
        wait_until(lambda: gauges(daemon)[0] == 1, "the long prompt to run")
        connections += [send(daemon, seed, 10) for seed in (2, 3, 4)]
        wait_until(lambda: gauges(daemon)[1] == 3, "three requests to wait")
        before = steps(daemon)
        assert [gauges(daemon) for _ in range(100)] == [(1, 3)] * 100
        assert steps(daemon) - before < 50, "most scrapes are during a step"
        for connection in connections:
            connection.close()


def test_a_counter_has_every_answer_that_was_sent():
    with Daemon() as daemon:
        tokens = 0
        for answered in range(1, 51):
            tokens += daemon.complete(prompt=f"Number {answered}", max_tokens=3)["usage"]["completion_tokens"]
            samples = daemon.metrics()
            assert total(samples, "vllm:request_success_total") == answered
            assert total(samples, "vllm:generation_tokens_total") == tokens
            assert total(samples, "vllm:e2e_request_latency_seconds_count") == answered
            assert total(samples, "vllm:num_requests_running") == 0
            assert total(samples, "vllm:num_requests_waiting") == 0


def test_the_watchdog_is_fed_during_a_step(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}  # a tick of 200 ms
        with Daemon(*LONG_STEPS, environment=environment) as daemon:
            connection = send(daemon, 1, PROMPT_TOKENS)
            wait_until(lambda: gauges(daemon)[0] == 1, "the long prompt to run")
            while True:  # the steps grow; the later ones take many ticks
                assert gauges(daemon)[0] == 1, "no step had three ticks"
                before = steps(daemon)
                notify.setblocking(False)
                try:
                    while notify.recv(4096):
                        pass
                except BlockingIOError:
                    notify.settimeout(60)
                for _ in range(3):
                    assert b"WATCHDOG=1" in notify.recv(4096)
                if steps(daemon) == before:
                    break
            connection.close()


def test_a_cancelled_prompt_ends_with_its_step():
    with Daemon("--backend", "ref") as daemon:
        connection = send(daemon, 1, PROMPT_TOKENS)
        wait_until(lambda: steps(daemon) >= 5, "some steps of the prompt")
        before = steps(daemon)
        connection.close()
        wait_until(lambda: gauges(daemon) == (0, 0), "the cancellation")
        samples = daemon.metrics()
        assert total(samples, "prefixd_step_seconds_count") - before <= 3
        assert total(samples, "vllm:request_success_total", finished_reason="abort") == 1
        assert total(samples, "vllm:prompt_tokens_total") == 0, "the prompt was not computed to its end"
        assert total(samples, "prefixd_blocks", state="leased") == 0
