"""What goes wrong with a disk tier while the daemon serves: it is killed, its files are damaged, the disk is
full or the directory vanishes. No answer may differ from that of a daemon that reuses nothing, the daemon
always starts, and requests always succeed.

PREFIXD_TIER_KILLS, PREFIXD_TIER_DAMAGES and PREFIXD_TIER_CAP_MIB make the campaigns longer;
PREFIXD_TIER_SEED varies them.
"""

import json
import os
import pathlib
import random
import shutil
import threading
import time

import pytest
from daemon import ROOT, Daemon, wait_until
from tiers_test import (BLOCK, CONTEXT, SMALL_POOL, ask, check_at_rest, prompt, wait_until_put,
                        wait_until_spilled)

FAULTY = ROOT / "build/release/prefixd_fault"
KILLS = int(os.environ.get("PREFIXD_TIER_KILLS", "10"))
DAMAGES = int(os.environ.get("PREFIXD_TIER_DAMAGES", "12"))
CAP_MIB = int(os.environ.get("PREFIXD_TIER_CAP_MIB", "12"))
SEED = int(os.environ.get("PREFIXD_TIER_SEED", "1"))
PROMPTS = 12


def branching_prompt(number):
    """Prompts that share beginnings of different lengths."""
    return prompt(number % 3, 100) + prompt(10 + number % 6, 90) + prompt(100 + number, 40 + 5 * number)


@pytest.fixture(scope="module")
def expected():
    with Daemon("--context", CONTEXT, "--no-prefix-cache") as daemon:
        return [ask(daemon, branching_prompt(number))[0] for number in range(PROMPTS)]


def disk_options(folder, size="64MiB", policy="load"):
    """Whatever the machine is doing meanwhile, what the disk has is loaded, unless a test wants otherwise."""
    return ["--context", CONTEXT, "--disk-cache-dir", folder, "--disk-cache", size, "--load-policy", policy]


def check(daemon):
    return json.loads(daemon.get("/ready")[2])["checks"]["disk"]


def total(daemon, name):
    return sum(value for (sample, _), value in daemon.metrics().items() if sample == name)


def ask_until_killed(daemon, expected, seed, wrong, answered):
    draw = random.Random(seed)
    while True:
        number = draw.randrange(PROMPTS)
        try:
            said, _ = ask(daemon, branching_prompt(number))
        except (OSError, ValueError, AssertionError) as error:
            if daemon.process.poll() is None and isinstance(error, AssertionError):
                wrong.append(str(error))
            return
        except Exception:  # pylint: disable=broad-except  (http.client: the connection was cut)
            return
        if said != expected[number]:
            wrong.append(number)
        answered.append(number)


def test_kill_under_load(tmp_path, expected):
    draw = random.Random(SEED)
    wrong, answered, from_disk = [], [], 0
    for cycle in range(KILLS):
        flags = ["--disk-write-through"] if cycle % 2 else []
        disk = disk_options(tmp_path / "kv", "12MiB", "auto" if cycle % 3 else "load")
        with Daemon(*disk, *flags, device_cache=SMALL_POOL) as daemon:
            if cycle % 3:  # what the kill before has left takes no lease that is not given back
                number = draw.randrange(PROMPTS)
                assert ask(daemon, branching_prompt(number))[0] == expected[number], f"cycle {cycle}"
            check_at_rest(daemon)
            clients = [threading.Thread(target=ask_until_killed,
                                        args=(daemon, expected, draw.random(), wrong, answered))
                       for _ in range(3)]
            for client in clients:
                client.start()
            time.sleep(draw.uniform(0.05, 2.5) if cycle % 3 else draw.uniform(0.0, 0.3))
            if clients[0].is_alive():
                try:
                    from_disk += daemon.metrics()["prefixd_prompt_tokens_total", (("source", "disk"),)]
                except OSError:
                    pass
            daemon.process.kill()
            for client in clients:
                client.join()
        assert wrong == [], f"cycle {cycle}"
    assert len(answered) > 3 * KILLS
    assert from_disk > 0
    with Daemon(*disk_options(tmp_path / "kv", "12MiB"), device_cache=SMALL_POOL) as daemon:
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
        check_at_rest(daemon)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, expected):
    """The directory of a disk cache that has all prompts, in several segments."""
    folder = tmp_path_factory.mktemp("filled") / "kv"
    with Daemon(*disk_options(folder), "--disk-write-through") as daemon:
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
            if number % 3 == 2:
                wait_until_spilled(daemon)
        daemon.signal()
        assert daemon.exit_code() == 0
    return folder


def damage(folder, draw):
    """Damages one or two files of the cache, the segments more often. Returns what it did."""
    done = []
    for _ in range(draw.choice((1, 1, 2))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0)
        segments = [file for file in files if file.suffix == ".sst"]
        path = draw.choice(segments if draw.random() < 0.7 else files)
        data = bytearray(path.read_bytes())
        kind = draw.choice(("flip", "flip", "flips", "cut", "zeros", "delete", "swap"))
        if kind == "delete":
            path.unlink()
        elif kind == "swap":
            path.write_bytes(draw.choice(files).read_bytes())
        else:
            if kind == "cut":
                del data[draw.randrange(len(data)):]
            for _ in range({"flip": 1, "flips": 40}.get(kind, 0)):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            if kind == "zeros":
                at = draw.randrange(len(data))
                data[at:at + 4096] = bytes(len(data[at:at + 4096]))
            path.write_bytes(data)
        done.append((path.name, kind))
    return done


def test_damaged_files(tmp_path, filled, expected):
    draw = random.Random(SEED)
    read_damage = whole = 0
    for number in range(DAMAGES):
        folder = tmp_path / f"kv{number}"
        shutil.copytree(filled, folder)
        done = damage(folder, draw)
        with Daemon(*disk_options(folder)) as daemon:
            wait_until(lambda: daemon.logged("the disk cache is scanned"), f"the scan after {done}")
            lost_blocks = 0
            for each in draw.sample(range(PROMPTS), 5):
                ids = branching_prompt(each)
                said, cached = ask(daemon, ids)
                assert said == expected[each], (done, each)
                lost_blocks += cached < len(ids) // BLOCK * BLOCK - 1
            failures = (total(daemon, "prefixd_verify_failures_total") +
                        total(daemon, "prefixd_tier_errors_total"))
            told = any(daemon.logged(words) for words in ("damaged", "set aside"))
            assert not lost_blocks or failures or told, done
            read_damage += bool(lost_blocks)
            whole += not lost_blocks
            check_at_rest(daemon)
        shutil.rmtree(folder)
    assert read_damage > 0 and whole > 0


def test_a_full_disk(tmp_path, expected):
    """After the start, 12 operations fail as if the disk were full; then there is room again."""
    environment = {"FAULTY_DISK": "60:12:full"}
    with Daemon(*disk_options(tmp_path / "kv"), "--disk-write-through", program=FAULTY,
                environment=environment) as daemon:
        seen = set()
        deadline = time.monotonic() + 50
        number = 0
        while time.monotonic() < deadline:
            said, _ = ask(daemon, branching_prompt(number % PROMPTS))
            assert said == expected[number % PROMPTS]
            ask(daemon, prompt(1000 + number, 200))
            number += 1
            state = check(daemon).split(":")[0]
            seen.add(state)
            if "failed" in seen and state == "ok":
                break
            time.sleep(0.05)
        assert seen == {"ok", "failed"}
        assert daemon.logged("the disk cache fails") and daemon.logged("the disk cache works again")
        assert json.loads(daemon.get("/ready")[2])["ready"] is True
        check_at_rest(daemon)


def test_a_directory_that_vanishes(tmp_path, expected):
    folder = tmp_path / "kv"
    with Daemon(*disk_options(folder), "--disk-write-through", device_cache=SMALL_POOL) as daemon:
        for number in range(PROMPTS):
            ask(daemon, branching_prompt(number))
        wait_until_spilled(daemon)
        shutil.rmtree(folder)
        wait_until(lambda: daemon.logged("the disk cache is closed and opened again"), "the daemon to see it")
        for number in range(PROMPTS):
            assert ask(daemon, branching_prompt(number))[0] == expected[number]
        wait_until(lambda: check(daemon) == "ok", "a new directory")
        for seed in range(3):
            ask(daemon, prompt(seed))
            wait_until_put(daemon, seed + 1)
        wait_until_spilled(daemon)
        assert folder.is_dir()
        check_at_rest(daemon)


def physical_bytes(folder):
    total_bytes = 0
    for path in [folder, *folder.rglob("*")]:
        try:
            total_bytes += path.lstat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total_bytes


def test_the_directory_never_exceeds_its_cap(tmp_path):
    """Twice the cap of KV goes through, sampled every five milliseconds."""
    folder, cap = pathlib.Path(tmp_path / "kv"), CAP_MIB << 20
    samples, stop = [], threading.Event()

    def sample():
        while not stop.wait(0.005):
            samples.append(physical_bytes(folder))

    with Daemon(*disk_options(folder, f"{CAP_MIB}MiB"), "--disk-write-through") as daemon:
        watcher = threading.Thread(target=sample)
        watcher.start()
        seed, written = 0, 0
        while written < 2 * cap:
            ask(daemon, prompt(seed))
            seed += 1
            metrics = daemon.metrics()
            written = (metrics["prefixd_tier_written_bytes_total", (("tier", "disk"),)] +
                       metrics["prefixd_disk_rewritten_bytes_total", ()])
        stop.set()
        watcher.join()
        assert total(daemon, "prefixd_tier_evictions_total") > 0
    print(f"cap {cap}, at most {max(samples)} ({max(samples) / cap:.3f}) in {len(samples)} samples")
    assert cap / 2 < max(samples) <= cap
