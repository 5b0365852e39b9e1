"""The memory plan that `validate` prints is a bound: a daemon that is filled to its limits keeps to it.

Peak memory is VmHWM of the process: all resident memory, that of mapped files included.
"""

import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess

import pytest
from daemon import MODEL, PATIENCE, PROGRAM, ROOT, Daemon, wait_until

MAKE_MODEL = ROOT / "build/release/bench/make_model"
MIB = 1 << 20
# Small limits, so that the plan has little that these tests do not use.
SMALL = {"--max-sequences": 16, "--max-queue": 32, "--max-connections": 32, "--max-body": "1MiB",
         "--max-inflight": "16MiB"}


def flat(options):
    return [word for option in options.items() for word in option]


def start(model, device_cache, options):
    return Daemon(*flat(options), model=model, device_cache=device_cache)


def peak_bytes(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024


def prompt_of(number, tokens):
    return random.Random(number).choices(range(300, 2000), k=tokens)


def fill(daemon, model, requests, prompt_tokens, answer_tokens):
    """Asks for answers to distinct prompts, more at once than may run, with all that an answer can report."""

    def ask(number):
        answer = daemon.complete(model=model, prompt=prompt_of(number, prompt_tokens), ignore_eos=True,
                                 max_tokens=answer_tokens, logprobs=20, temperature=0.9, seed=number,
                                 repetition_penalty=1.1)
        assert answer["usage"]["completion_tokens"] == answer_tokens
        assert len(answer["choices"][0]["logprobs"]["top_logprobs"][-1]) >= 20

    with concurrent.futures.ThreadPoolExecutor(24) as threads:
        list(threads.map(ask, range(requests)))


def check(daemon, used):
    """`used` parts of the plan were filled, so the check means something."""
    plan, peak = daemon.memory_plan(), peak_bytes(daemon)
    parts = {name: f"{value / MIB:.1f} MiB" for name, value in plan.items()}
    print(f"\npeak {peak / MIB:.1f} MiB of the plan", parts)
    assert plan["plan_bytes"] == sum(value for name, value in plan.items()
                                     if name not in ("plan_bytes", "available_bytes", "total_bytes"))
    assert peak <= 1.1 * plan["plan_bytes"], (peak, parts)
    assert peak >= sum(plan[name] for name in used), (peak, parts)


def make_model(tmp_path_factory, dtype, preset="llama-40m"):
    folder = tmp_path_factory.mktemp("models") / preset
    subprocess.run([MAKE_MODEL, "--preset", preset, "--dtype", dtype, folder], check=True,
                   capture_output=True)
    return folder


@pytest.fixture(scope="module")
def larger_model(tmp_path_factory):
    return make_model(tmp_path_factory, "bf16")


def test_a_full_daemon_keeps_to_its_plan():
    with start(MODEL, "32MiB", {**SMALL, "--context": 4096}) as daemon:
        fill(daemon, "demo", requests=32, prompt_tokens=1000, answer_tokens=64)
        assert daemon.metrics()[("prefixd_tier_evictions_total", (("tier", "device"),))] > 0, "it was full"
        check(daemon, ("device_cache_bytes", "weight_bytes", "activation_bytes"))


def test_a_full_daemon_with_a_larger_model_keeps_to_its_plan(larger_model):
    with start(larger_model, "32MiB", {**SMALL, "--context": 6000, "--max-sequences": 4}) as daemon:
        fill(daemon, "llama-40m", requests=3, prompt_tokens=2400, answer_tokens=16)
        check(daemon, ("device_cache_bytes", "weight_bytes", "activation_bytes"))


# The files of the weights are mapped, and copied into packed matrices. Both together would exceed the plan:
# weights in f32 are large beside what else it has.
def test_loading_keeps_to_the_plan(tmp_path_factory):
    options = {**SMALL, "--context": 512, "--max-sequences": 2, "--max-queue": 2, "--step-tokens": 64,
               "--max-connections": 4, "--max-inflight": "8MiB"}
    with start(make_model(tmp_path_factory, "f32", "llama-135m"), "24MiB", options) as daemon:
        plan = daemon.memory_plan()
        assert 1.1 * plan["plan_bytes"] < 2 * plan["weight_bytes"]
        check(daemon, ("weight_bytes",))


def test_the_tokens_in_flight_are_bounded():
    options = {"--context": 4096, "--max-tokens-in-flight": 8000, "--max-sequences": 1}
    with Daemon(*flat(options)) as daemon:
        body = {"model": "demo", "prompt": prompt_of(1, 3000), "max_tokens": 1000, "ignore_eos": True}
        stream = daemon.start_stream(**{name: body[name] for name in body if name != "model"})
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            queued = threads.submit(daemon.request, "POST", "/v1/completions", {**body, "max_tokens": 1})
            wait_until(lambda: waiting(daemon) == 1, "the second request to wait")
            status, headers, text = daemon.request("POST", "/v1/completions", body)
            assert status == 429 and "Retry-After" in headers, (status, text)
            assert "8000 are the limit" in text
            short = {**body, "prompt": prompt_of(2, 100), "max_tokens": 1}
            accepted = threads.submit(daemon.request, "POST", "/v1/completions", short)
            wait_until(lambda: waiting(daemon) == 2, "the short request to wait as well")
            stream.read()
            assert queued.result()[0] == accepted.result()[0] == 200
        assert daemon.request("POST", "/v1/completions", {**body, "max_tokens": 1})[0] == 200


# Where a test may make a control group: version 2, and version 1.
CGROUPS = (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"))


@pytest.fixture(name="group_of_1_gib")
def a_control_group():
    for parent, name in CGROUPS:
        group = pathlib.Path(parent) / f"prefixd-test-{os.getpid()}"
        if not pathlib.Path(parent, "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / name).exists():
                (group / name).write_text(str(1 << 30), encoding="ascii")
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("no control group with a limit of memory can be made here")


def test_the_automatic_sizes_keep_to_the_limit_of_a_control_group(group_of_1_gib):
    inside = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', group_of_1_gib]
    done = subprocess.run([*inside, PROGRAM, "validate", "--json", "--model", MODEL], capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["memory"]["total_bytes"] == 1 << 30
    assert 0 < plan["device_cache_bytes"] < 1 << 29
    assert plan["memory"]["plan_bytes"] < 1 << 30


def waiting(daemon):
    return sum(value for (name, _), value in daemon.metrics().items() if name == "vllm:num_requests_waiting")
