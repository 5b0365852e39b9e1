"""Purges and pins through the admin listener, in a daemon with all tiers that two tenants have left warm."""

import http.client
import json
import threading

import pytest
from admin_test import tcp_address, tokens
from daemon import PATIENCE, Daemon, wait_until

OWN = {"Content-Type": "application/json", "X-Prefixd-Action": "1"}
SYSTEM = tokens(64, 1)
PROMPTS = {seed: SYSTEM + tokens(64, seed) for seed in (2, 3)}


def ask(daemon, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(tcp_address(daemon), timeout=PATIENCE)
    connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def act(daemon, action, **body):
    return ask(daemon, "POST", f"/admin/{action}", body, OWN)


def done(daemon, action, **body):
    status, answer = act(daemon, action, **body)
    assert status == 200, answer
    return answer["done"]


def cached(daemon, seed, salt=""):
    answer = daemon.complete(prompt=PROMPTS[seed], max_tokens=1, **({"cache_salt": salt} if salt else {}))
    return int(answer["headers"]["x-prefixd-cached-tokens"])


def rows(daemon, wanted):
    """The rows of the prefixes, once wanted(rows) holds."""
    found = []

    def there():
        found[:] = ask(daemon, "GET", "/admin/prefixes")[1]["rows"]
        return wanted(found)
    wait_until(there, "the prefixes")
    return found


def at_rest(daemon):
    status = ask(daemon, "GET", "/admin/status")[1]
    tiers = status["tiers"]
    return (tiers["device"]["leased_blocks"] == 0 and tiers["host"]["leased_blocks"] == 0
            and tiers["disk"]["spill_pending_bytes"] == 0)


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path):
    disk = ["--disk-cache-dir", tmp_path / "disk", "--disk-cache", "64MiB", "--disk-write-through"]
    with Daemon("--admin-listen", "127.0.0.1:0", "--host-cache", "64MiB", *disk) as daemon:
        for _ in range(2):
            for seed in PROMPTS:
                cached(daemon, seed)
                cached(daemon, seed, salt="other")
        wait_until(lambda: at_rest(daemon), "the disk to have all")
        yield daemon


def test_a_prefix_goes_from_every_tier_and_stays_gone(daemon):
    def all_on_disk(found):  # an earlier look may have come before the disk had all
        return len(found) >= 6 and all(row["tiers"] == ["device", "host", "disk"] for row in found)
    first, second = [row for row in rows(daemon, all_on_disk) if row["tokens"] == 128][:2]
    before = ask(daemon, "GET", "/admin/status")[1]["tiers"]["disk"]["cached_blocks"]
    text = done(daemon, "purge", prefix=first["key"])
    assert text.startswith("Purged 4 blocks from the device, 4 blocks from host memory and 4 records"), text
    wait_until(lambda: daemon.logged("an operator purged a part of the cache"), "the log line")
    assert before - ask(daemon, "GET", "/admin/status")[1]["tiers"]["disk"]["cached_blocks"] == 4
    found = sorted(cached(daemon, seed, salt) for seed in PROMPTS for salt in ("", "other"))
    assert found == [64, 127, 127, 127], "the system prompt and the other tenant's stay"
    assert sorted(cached(daemon, seed, salt) for seed in PROMPTS for salt in ("", "other")) == 4 * [127]
    assert act(daemon, "purge", prefix="0" * 32)[0] == 404
    assert second["key"] in {row["key"] for row in rows(daemon, lambda found: True)}


def test_a_tenant_goes_whole_and_the_other_one_stays(daemon):
    tenants = {row["tenant"] for row in rows(daemon, lambda found: len(found) >= 6)}
    assert len(tenants) == 2
    text = done(daemon, "purge", tenant=sorted(tenants)[0])
    assert text.startswith("Purged 12 blocks from the device, 12 blocks from host memory and 12 records")
    by_salt = {salt: [cached(daemon, seed, salt) for seed in PROMPTS] for salt in ("", "other")}
    assert sorted(by_salt.values()) == [[0, 64], [127, 127]]


def test_the_model_goes_whole_beside_requests_that_run(daemon):
    stop, failures = threading.Event(), []

    def load():
        while not stop.is_set():
            try:
                cached(daemon, 2)
                cached(daemon, 3, salt="other")
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert done(daemon, "purge", model="demo").startswith("Purged ")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    wait_until(lambda: at_rest(daemon), "rest")
    done(daemon, "purge", model="demo")
    tiers = ask(daemon, "GET", "/admin/status")[1]["tiers"]
    assert tiers["device"]["cached_blocks"] == tiers["host"]["cached_blocks"] == 0
    assert tiers["disk"]["cached_blocks"] == 0
    assert [cached(daemon, 2), cached(daemon, 2)] == [0, 127]
    assert act(daemon, "purge", model="another")[1]["error"]["code"] == "unknown_model"


def test_answers_are_those_without_a_purge(daemon):
    def text(seed):
        return daemon.complete(prompt=PROMPTS[seed], max_tokens=8)["choices"][0]["text"]
    before = {seed: text(seed) for seed in PROMPTS}
    done(daemon, "purge", model="demo")
    assert {seed: text(seed) for seed in PROMPTS} == before


def test_a_pin_is_bounded_and_shown(daemon):
    row = next(row for row in rows(daemon, lambda found: len(found) >= 6) if row["tokens"] == 128)
    assert not row["pinned"]
    text = done(daemon, "pin", prefix=row["key"])
    assert text.startswith("Pinned 8 of the 8 blocks on the device and 8 in host memory."), text
    assert "Pinned now: 8 of at most" in text

    def is_pinned(found):
        return any(each["key"] == row["key"] and each["pinned"] for each in found)
    rows(daemon, is_pinned)
    assert "Pinned now: 0 of at most" in done(daemon, "unpin", prefix=row["key"])
    rows(daemon, lambda found: not is_pinned(found))


def test_actions_refuse_what_is_not_theirs(daemon):
    for body in ({}, {"prefix": 1}, {"tenant": "xyz"}, {"tenant": "0" * 16, "model": "demo"}, {"all": "yes"}):
        status, answer = act(daemon, "purge", **body)
        assert status == 400, (body, answer)
    for headers, status in (({}, 403), ({**OWN, "Origin": "http://attacker.example"}, 403),
                            ({**OWN, "Content-Type": "text/plain"}, 415),
                            ({**OWN, "Host": "attacker.example"}, 403)):
        for action in ("purge", "pin", "unpin"):
            assert ask(daemon, "POST", f"/admin/{action}", {"model": "demo"}, headers)[0] == status, headers
    assert cached(daemon, 2) == 127, "nothing was purged"
