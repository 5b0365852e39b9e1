"""The page of the admin listener beside a daemon that is busy: a device cache, a host cache and a disk that
are full, a remote cache that is written, two tenants, and requests that do not end. Screenshots are kept in
build/screenshots: look at each of them.
"""

import json
import random
import threading

import pytest
from admin_page_test import SCREENSHOTS, VIEWS, WIDTHS, Page, axe, fixture_browser, number
from admin_test import get, tcp_address, tokens
from daemon import PATIENCE, Daemon, wait_until
from redis_server import RedisServer

KEYS = ["sk-alice-0123456789", "sk-bob-0123456789ab"]
HEADERS = {"x-api-key": KEYS[0]}
# Each view in each width and in each color; admin_page_test.py has all pairs of them.
MODES = [("wide", "light"), ("narrow", "dark")]
__all__ = ["fixture_browser"]


def keep_asking(daemon, key, is_full, stop, codes):
    """Conversations that share system prompts, documents that many ask about, and prompts that come once.
    Once the tiers are full, they leave the processors to the page and to other tests."""
    draw = random.Random(key)
    systems = [tokens(64 + 32 * seed, seed) for seed in range(4)]
    turns = [list(system) for system in systems]
    while not stop.wait(0.1 if is_full.is_set() else 0):
        kind = draw.random()
        if kind < 0.4:  # the next turn of a conversation
            at = draw.randrange(len(systems))
            turns[at] = turns[at] + tokens(24, draw.randrange(10**6))
            prompt = turns[at]
            if len(prompt) > 400:
                turns[at] = list(systems[at])
        elif kind < 0.8:
            prompt = systems[draw.randrange(len(systems))] + tokens(32, draw.randrange(40))
        else:
            prompt = tokens(draw.randrange(100, 400), draw.randrange(10**6))
        body = {"model": "demo", "prompt": prompt, "max_tokens": draw.randrange(2, 30)}
        codes.add(daemon.request("POST", "/v1/completions", body, {"x-api-key": key})[0])


@pytest.fixture(name="busy", scope="module")
def fixture_busy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("busy")
    (folder / "keys").write_text("\n".join(KEYS) + "\n")
    is_full, stop, codes = threading.Event(), threading.Event(), set()
    with RedisServer("--maxmemory", "64mb") as store, Daemon(
            "--admin-listen", "127.0.0.1:0", "--api-keys", folder / "keys", "--host-cache", "1MiB",
            "--disk-cache-dir", folder / "disk", "--disk-cache", "8MiB", "--disk-write-through",
            "--load-policy", "load", "--remote-cache", store.url, device_cache="2MiB") as daemon:
        threads = [threading.Thread(target=keep_asking, args=(daemon, key, is_full, stop, codes))
                   for key in KEYS for _ in range(2)]
        for thread in threads:
            thread.start()

        def count(name, label, value):
            return daemon.metrics()[name, ((label, value),)]
        try:
            for tier in ("device", "host", "disk"):
                wait_until(lambda tier=tier: count("prefixd_tier_evictions_total", "tier", tier) > 0,
                           f"evictions of {tier}")
            wait_until(lambda: count("prefixd_remote_writes_total", "result", "written") > 0, "remote writes")
            is_full.set()
            wait_until(lambda: samples(daemon) >= 2, "samples of the last minutes, one every 5 seconds")
            yield daemon
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert codes == {200}


def samples(daemon):
    return len(json.loads(get(tcp_address(daemon), "/admin/misses", HEADERS)[1])["history"]["until"])


def unlocked(shown, view):
    """The view, after the key was given."""
    page = shown.page
    page.goto(f"{shown.url}/#{view}")
    page.get_by_label("API key").fill(KEYS[0])
    page.keyboard.press("Enter")
    page.locator("main h2").first.wait_for()
    page.locator("main table").first.wait_for(state="attached")
    shown.said = [text for text in shown.said if "401" not in text]
    return page


@pytest.mark.parametrize("width, scheme", MODES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_busy_daemon(browser, busy, view, width, scheme):
    size = {"width": WIDTHS[width], "height": 800}
    url = f"http://{tcp_address(busy)}"
    with Page(browser, url, color_scheme=scheme, viewport=size, reduced_motion="reduce") as shown:
        page = unlocked(shown, view)
        if view == "prefixes":
            page.locator(".icicle a[data-key]").nth(3).wait_for()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"busy-{view}-{width}-{scheme}.png", full_page=width == "narrow")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width], "it scrolls sideways"
        result = axe.Axe().run(page)
        assert result.violations_count == 0, result.generate_report()


def test_the_first_screen_has_all_tiers_without_scrolling(browser, busy):
    with Page(browser, f"http://{tcp_address(busy)}", viewport={"width": 1280, "height": 800}) as shown:
        page = unlocked(shown, "overview")
        for title in ("Device", "Host memory", "Disk", "Remote cache"):
            region = page.get_by_role("region", name=title, exact=True)
            region.get_by_role("img").first.wait_for(state="attached")
            assert region.get_by_role("img").count() == 1, title
        remote = page.get_by_role("region", name="Remote cache", exact=True)
        assert "of 64 MiB taken" in remote.inner_text()
        assert number(remote.locator("tbody tr td").first.text_content()) > 0
        assert page.evaluate("document.documentElement.scrollHeight") <= 800


def test_prefixes_say_which_blocks_the_remote_cache_has(browser, busy):
    with Page(browser, f"http://{tcp_address(busy)}") as shown:
        page = unlocked(shown, "prefixes")
        page.get_by_role("columnheader", name="remote", exact=True).wait_for()
        page.locator(".icicle .tier-remote").first.wait_for(state="attached")
        page.get_by_label("Tenant", exact=True).select_option(index=1)
        page.get_by_role("button", name="Purge this tenant …").wait_for()
