"""Tests the daemon on a CUDA device that the CPU emulates: its memory plan, and what a lost one does."""

import http.client
import json
import pathlib
import shutil
import signal
import threading

import pytest

from daemon import MODEL, PROGRAM, Daemon, wait_until
from daemon import run as run_program

MODULE = PROGRAM.parent / "tests/kernels/cuda/module/emulated/libprefixd_cuda.so"
MIB = 1 << 20
# Small, because the emulation is slow.
SMALL = ("--backend", "cuda", "--context", 512, "--step-tokens", 64, "--max-sequences", 4)


def install(folder, program=PROGRAM):
    """Copies a program into the folder, beside a module with two emulated devices."""
    if not MODULE.exists():
        pytest.skip("cuda_emulated_module is not built")
    if not program.exists():
        pytest.skip(f"{program.name} is not built")
    shutil.copy(program, folder / "prefixd")
    shutil.copy(MODULE, folder / "libprefixd_cuda.so")
    return folder / "prefixd"


@pytest.fixture
def program(tmp_path):
    return install(tmp_path)


def validate(program, *arguments, **environment):
    done = run_program("validate", "--json", "--model", MODEL, *SMALL, *arguments, program=program,
                       environment=environment)
    return done.returncode, json.loads(done.stdout)


def requests(daemon, state):
    name = f"vllm:num_requests_{state}"
    return sum(value for (found, _), value in daemon.metrics().items() if found == name)


def test_it_computes_and_says_where(program):
    prompt = "What is the capital of France? And of Spain, of Italy, of Norway, and of Poland?"
    with Daemon("--backend", "ref", "--context", 512, program=program) as daemon:
        expected = daemon.complete(prompt=prompt, max_tokens=8)["choices"][0]["text"]
    with Daemon(*SMALL, "--device", 1, "--log-format", "json", program=program,
                environment={"EMULATED_CUDA_BLASLT": "1"}) as daemon:
        assert daemon.complete(prompt=prompt, max_tokens=8)["choices"][0]["text"] == expected
        again = daemon.complete(prompt=prompt, max_tokens=8)
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        lines = [json.loads(line) for line in daemon.log]
        device, = [line for line in lines if line["message"] == "device"]
        assert (device["number"], device["name"], device["memory"]) == (1, "emulated device", "1.0 GiB")
        loaded, = [line for line in lines if line["message"] == "model loaded"]
        assert loaded["backend"] == "cuda"
        products, = [line for line in lines if line["message"] == "cuBLASLt multiplies matrices"]
        assert products["library"] == "cuBLASLt 0.0.0 (emulated)"
        assert " of 17 to 64 rows" in products["shapes"]
        assert device["versions"] == "emulation, cuBLASLt 0.0.0 (emulated)"
    with Daemon(*SMALL, "--deterministic", "--log-format", "json", program=program,
                environment={"EMULATED_CUDA_BLASLT": "1"}) as daemon:
        assert daemon.complete(prompt=prompt, max_tokens=8)["choices"][0]["text"] == expected
        assert not any("cuBLASLt" in line for line in daemon.log)


def test_dummy_weights_are_made_on_the_device(program, tmp_path):
    folder = tmp_path / "shape"
    folder.mkdir()
    shutil.copy(MODEL / "config.json", folder / "config.json")
    chances = []
    for arguments in (("--backend", "ref", "--context", 512), SMALL):
        with Daemon(*arguments, "--load", "dummy", "--served-model-name", "demo", model=folder,
                    program=program) as daemon:
            choice, = daemon.complete(prompt="One byte is one token.", max_tokens=1, logprobs=3)["choices"]
            chances.append(choice["logprobs"]["top_logprobs"][0])
    assert chances[0].keys() == chances[1].keys()
    assert max(abs(chance - chances[1][token]) for token, chance in chances[0].items()) < 0.1


def test_the_plan_divides_the_memory_of_device_and_host(program):
    code, plan = validate(program, EMULATED_CUDA_BYTES=256 * MIB, EMULATED_CUDA_OTHERS=56 * MIB)
    assert code == 0, plan
    assert plan["device"]["name"] == "emulated device"
    device, host = plan["device_memory"], plan["memory"]
    assert (device["available_bytes"], device["total_bytes"]) == (200 * MIB, 256 * MIB)
    parts = {"weight_bytes", "activation_bytes", "scratch_bytes", "device_cache_bytes"}
    assert parts == set(device) - {"plan_bytes", "available_bytes", "total_bytes"}
    assert not parts & set(host)
    assert host["pinned_bytes"] > 16 * MIB
    # The cache takes nine tenths of what the others leave, in whole blocks.
    block = plan["kv_bytes_per_token"] * plan["block_tokens"]
    cache, others = device["device_cache_bytes"], device["plan_bytes"] - device["device_cache_bytes"]
    assert cache == plan["blocks"] * block
    assert 0 <= 0.9 * (200 * MIB - others) - cache < block
    assert plan["prefill"]["flops_per_second"] > 0
    assert plan["reuse"]["host_copy_bytes_per_second"] > 0


def test_cublaslt_has_its_workspace_in_the_plan_unless_deterministic(program):
    scratch = {}
    for arguments in ((), ("--deterministic",)):
        code, plan = validate(program, *arguments, EMULATED_CUDA_BLASLT="1")
        assert code == 0, plan
        scratch[arguments] = plan["device_memory"]["scratch_bytes"]
        assert ("cuBLASLt" in plan["device"]["versions"]) == (arguments == ())
    assert scratch[()] == scratch["--deterministic",] + 32 * MIB


def test_a_device_that_is_too_small_is_refused_with_what_takes_most(program):
    code, plan = validate(program, EMULATED_CUDA_BYTES=2 * MIB)
    assert code == 2
    assert "of device memory are free; the largest parts and what makes them smaller: " in plan["error"]


def test_auto_computes_on_the_cpu_beside_a_device_without_kernels(program):
    old = {"EMULATED_CUDA_OLD": "1"}
    with Daemon("--context", 512, "--log-format", "json", program=program, environment=old) as daemon:
        lines = [json.loads(line) for line in daemon.log]
        starting, = [line for line in lines if line["message"] == "starting"]
        assert starting["backend"] != "cuda"
        reason, = [line["reason"] for line in lines if line["message"].startswith("the CPU computes")]
        assert "compute capability 7.5" in reason
    code, answer = validate(program, **old)  # by name
    assert code == 2 and "compute capability 7.5" in answer["error"]


def test_memory_that_lacks_at_start_is_said_part_by_part(program):
    options = ("--model", MODEL, *SMALL, "--device-cache", "128MiB", "--listen", "127.0.0.1:0")
    done = run_program("serve", *options, program=program,
                       environment={"EMULATED_CUDA_BYTES": 256 * MIB, "EMULATED_CUDA_OTHERS": 130 * MIB})
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()[-2:]
    assert "of device memory that are free now; the largest parts" in done.stderr, warning
    assert "no device memory for 128.0 MiB; the plan has " in error
    for part in ("weights ", "activations ", "scratch ", "device cache 128.0 MiB"):
        assert part in error
    assert "when it was made, 126.0 MiB of 256.0 MiB were free" in error


def test_a_lost_device_ends_requests_and_the_process_begins_anew_once(program, tmp_path):
    lost = tmp_path / "lost"
    prompt = "The history of the river begins. " * 2
    disk = ("--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB", "--disk-write-through",
            "--load-policy", "load")
    with Daemon(*SMALL, *disk, program=program, environment={"EMULATED_CUDA_LOST": str(lost)}) as daemon:
        before = daemon.complete(prompt=prompt, max_tokens=2)
        on_disk = "prefixd_blocks", (("state", "cached"), ("tier", "disk"))
        wait_until(lambda: daemon.metrics()[on_disk] > 0, "a block on the disk")
        stream = daemon.start_stream(prompt="A long answer.", max_tokens=400, ignore_eos=True)
        answers = []
        body = {"model": "demo", "prompt": "Another.", "max_tokens": 400, "ignore_eos": True}
        complete = lambda: answers.append(daemon.request("POST", "/v1/completions", body))
        others = [threading.Thread(target=complete) for _ in range(6)]
        for other in others:
            other.start()
        # Four of the seven run, and the others wait for them.
        wait_until(lambda: requests(daemon, "running") == 4, "four requests run")
        wait_until(lambda: requests(daemon, "waiting") == 3, "the others wait")
        lost.touch()
        events = stream.read().decode()
        for other in others:
            other.join()
        assert "overloaded" in events and "[DONE]" not in events
        assert len(answers) == 6
        for status, headers, text in answers:
            assert status == 503 and json.loads(text)["error"]["code"] == "overloaded"
            assert "Retry-After" in headers
        process = daemon.process.pid
        assert daemon._wait_until_listening() == daemon.url
        assert daemon.process.poll() is None and daemon.process.pid == process
        # The prompt is on the disk, and gives the same answer.
        after = daemon.complete(prompt=prompt, max_tokens=2)
        assert after["choices"][0]["text"] == before["choices"][0]["text"]
        assert after["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        lost.touch()
        status, _, text = daemon.request("POST", "/v1/completions", {"model": "demo", "prompt": "Once more."})
        assert status == 503, text
        assert daemon.exit_code() == 1
        log = "\n".join(line for line in daemon.log if line)
        assert log.count("the process begins anew") == 1
        assert "the device is lost again; ended" in log


@pytest.mark.parametrize("named", [False, True], ids=["auto", "cuda"])
def test_a_process_that_begins_anew_without_the_device_says_so(program, tmp_path, named):
    lost, gone = tmp_path / "lost", tmp_path / "gone"
    with Daemon(*(SMALL if named else SMALL[2:]), "--log-format", "json", program=program,
                environment={"EMULATED_CUDA_LOST": str(lost), "EMULATED_CUDA_GONE": str(gone)}) as daemon:
        assert json.loads(daemon.get("/ready")[2])["checks"]["device"] == "ok"
        gone.touch()
        lose(daemon, lost)
        if named:
            assert daemon.exit_code() == 1
            assert daemon.logged("backend: 'cuda' does not run here: the devices are gone")
            return
        assert daemon._wait_until_listening() == daemon.url
        assert daemon.complete(prompt="On the CPU.", max_tokens=2)["choices"][0]["text"]
        status, _, text = daemon.get("/ready")
        ready = json.loads(text)
        assert (status, ready["ready"], ready["state"]) == (200, True, "degraded")
        assert ready["checks"]["device"] == ("failed: the CPU computes in the place of the lost GPU: "
                                             "the devices are gone (emulated)")
        lines = [json.loads(line) for line in daemon.log if "the CPU computes" in line]
        assert [(line["level"], line["reason"]) for line in lines] == \
            [("warning", "the devices are gone (emulated)")]


PROMPT = "The history of the river begins. " * 2


def tiers(tmp_path):
    """Without write-through: the disk gets what was used twice, and at the end what the host has alone."""
    return ("--host-cache", "64MiB", "--disk-cache-dir", tmp_path / "kv", "--disk-cache", "64MiB",
            "--load-policy", "load")


def cached_blocks(daemon, tier):
    return daemon.metrics()["prefixd_blocks", (("state", "cached"), ("tier", tier))]


def fill_the_host(daemon):
    """Returns the answer to PROMPT when its blocks are in the host tier, and not on the disk."""
    answer = daemon.complete(prompt=PROMPT, max_tokens=2)["choices"][0]["text"]
    blocks = lambda: tuple(cached_blocks(daemon, tier) for tier in ("device", "host", "disk"))
    wait_until(lambda: blocks()[0] == blocks()[1] > 0, "the blocks are in the host tier")
    assert blocks()[2] == 0
    return answer


def lose(daemon, lost):
    lost.touch()
    status, _, text = daemon.request("POST", "/v1/completions", {"model": "demo", "prompt": "Once more."})
    assert status == 503, text


def check_that_it_is_on_the_disk(daemon, answer):
    again = daemon.complete(prompt=PROMPT, max_tokens=2)
    assert again["choices"][0]["text"] == answer
    sources = dict(part.split("=") for part in again["headers"]["x-prefixd-cache-source"].split(","))
    assert int(sources["disk"]) > 0, sources


def ask_on_and_on(daemon, ends, refused, statuses):
    while not ends.is_set():
        try:
            statuses.add(daemon.get("/ready")[0])
        except ConnectionRefusedError as error:
            refused.append(error)
        except (OSError, http.client.HTTPException):
            pass  # it was connected to the program that ended


def test_a_lost_device_costs_neither_a_connection_nor_what_the_host_has(program, tmp_path):
    lost = tmp_path / "lost"
    ends, refused, statuses = threading.Event(), [], set()
    with Daemon(*SMALL, *tiers(tmp_path), program=program,
                environment={"EMULATED_CUDA_LOST": str(lost)}) as daemon:
        answer = fill_the_host(daemon)
        asks = threading.Thread(target=ask_on_and_on, args=(daemon, ends, refused, statuses))
        asks.start()
        wait_until(lambda: 200 in statuses, "an answer")
        lose(daemon, lost)
        assert daemon._wait_until_listening() == daemon.url
        ends.set()
        asks.join()
        assert refused == []
        assert statuses == {200, 503}
        check_that_it_is_on_the_disk(daemon, answer)


def test_a_disk_that_hangs_does_not_keep_the_process_from_beginning_anew(tmp_path):
    program = install(tmp_path, PROGRAM.parent / "prefixd_fault")
    lost, hangs = tmp_path / "lost", tmp_path / "hangs"
    with Daemon(*SMALL, *tiers(tmp_path), "--drain-seconds", 1, program=program,
                environment={"EMULATED_CUDA_LOST": str(lost), "FAULTY_DISK": f"hang:{hangs}"}) as daemon:
        answer = fill_the_host(daemon)
        process = daemon.process.pid
        hangs.touch()
        lose(daemon, lost)
        wait_until(lambda: daemon.logged("the process begins anew"), "the next program")
        assert daemon.logged("drain-seconds ran out before the disk cache was written")
        hangs.unlink()
        assert daemon._wait_until_listening() == daemon.url
        assert daemon.process.poll() is None and daemon.process.pid == process
        assert daemon.complete(prompt=PROMPT, max_tokens=2)["choices"][0]["text"] == answer


def has_pending_signal(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    pending, = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return int(pending, 16) >> (signal.SIGTERM - 1) & 1 == 1


def test_a_signal_while_the_host_is_written_ends_the_process_well(tmp_path):
    program = install(tmp_path, PROGRAM.parent / "prefixd_fault")
    lost, hangs = tmp_path / "lost", tmp_path / "hangs"
    with Daemon(*SMALL, *tiers(tmp_path), program=program,
                environment={"EMULATED_CUDA_LOST": str(lost), "FAULTY_DISK": f"hang:{hangs}"}) as daemon:
        answer = fill_the_host(daemon)
        hangs.touch()
        lose(daemon, lost)
        wait_until(lambda: "failed: a write" in daemon.get("/ready")[2], "the disk hangs")
        daemon.signal()
        wait_until(lambda: not has_pending_signal(daemon.process), "it has seen the signal")
        hangs.unlink()
        assert daemon.exit_code() == 0
        assert daemon.logged("disk cache written") and daemon.logged("stopped")
        assert not daemon.logged("begins anew")
    with Daemon(*SMALL, *tiers(tmp_path), program=program) as daemon:
        check_that_it_is_on_the_disk(daemon, answer)
