"""The page of the admin listener in Debian's Chromium. Screenshots are kept in build/screenshots."""

import shutil
import urllib.request

import pytest
from admin_test import tcp_address, tokens
from daemon import ROOT, Daemon, wait_until

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = ROOT / "build/screenshots"
WIDTHS = {"wide": 1280, "narrow": 320}
VIEWS = ["overview", "requests", "prefixes", "misses"]

if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")


@pytest.fixture(name="daemon", scope="module")
def fixture_daemon(tmp_path_factory):
    disk = ["--disk-cache-dir", tmp_path_factory.mktemp("disk"), "--disk-cache", "64MiB"]
    with Daemon("--admin-listen", "127.0.0.1:0", "--host-cache", "64MiB", *disk) as daemon:
        for seed in (1, 2, 1):
            daemon.complete(prompt=tokens(100, seed), max_tokens=4)
        yield daemon


@pytest.fixture(name="browser", scope="module")
def fixture_browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page of the browser that notes what it must not do."""

    def __init__(self, browser, url, **context):
        self.url = url
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.said, self.asked = [], set()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert self.said == []
            assert {url for url in self.asked if not url.startswith((self.url, "data:"))} == set()

    def open(self, view="overview"):
        self.page.goto(f"{self.url}/#{view}")
        self.page.locator("main h2").first.wait_for()
        self.page.locator("main table").first.wait_for(state="attached")  # its document has come
        return self.page


@pytest.fixture(name="opened")
def fixture_opened(browser, daemon):
    def opened(**context):
        return Page(browser, f"http://{tcp_address(daemon)}", **context)
    return opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible_at_every_width(opened, view, width, scheme):
    size = {"width": WIDTHS[width], "height": 800}
    with opened(color_scheme=scheme, viewport=size, reduced_motion="reduce") as shown:
        page = shown.open(view)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{view}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width], "it scrolls sideways"
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
        result = axe.Axe().run(page)
        assert result.violations_count == 0, result.generate_report()


def test_the_first_screen_needs_no_scrolling(opened):
    with opened(viewport={"width": 1280, "height": 800}) as shown:
        page = shown.open()
        assert page.evaluate("document.documentElement.scrollHeight") <= 800


def test_the_numbers_are_those_of_the_metrics(opened, daemon):
    wait_until(lambda: daemon.metrics()["vllm:num_requests_running", (("model_name", "demo"),)] == 0, "rest")
    samples = daemon.metrics()
    with opened() as shown:
        page = shown.open()
        assert page.locator("#state").inner_text() == "Serving: it answers requests."
        assert page.get_by_text("0 requests running, 0 waiting").is_visible()
        rows = page.get_by_role("region", name="Device", exact=True).locator("tbody tr")
        assert rows.count() == 3
        for row in rows.all():
            name, blocks = row.locator("th").text_content(), row.locator("td").nth(1).text_content()
            state = {"in use by requests": "leased"}.get(name, name)
            sample = samples["prefixd_blocks", (("state", state), ("tier", "device"))]
            assert int(blocks.replace(",", "")) == sample, name
        for title in ("Host memory", "Disk"):
            assert page.get_by_role("region", name=title, exact=True).get_by_role("img").count() == 1


def cells(page, region):
    """The rows of a table, as texts of their cells."""
    rows = page.get_by_role("region", name=region, exact=True).locator("tbody tr").all()
    return [row.locator("th, td").all_text_contents() for row in rows]


def number(text):
    return int(text.replace(",", ""))


def test_misses_and_what_if_are_those_of_the_metrics(opened, daemon):
    samples = daemon.metrics()
    with opened() as shown:
        page = shown.open("misses")
        reasons = [name for name, _ in samples if name == "prefixd_cache_miss_tokens_total"]
        assert len(reasons) > 5
        assert {row[0]: number(row[1]) for row in cells(page, "Reasons")} == {
            {"never_seen": "never seen", "block_tail": "end of a block"}[labels[0][1]]: value
            for (name, labels), value in samples.items()
            if name == "prefixd_cache_miss_tokens_total" and value > 0}
        prompt = sum(value for (name, _), value in samples.items() if name == "prefixd_prompt_tokens_total")
        share = samples["prefixd_ghost_hit_tokens_total", (("scale", "4"), ("tier", "disk"))] / prompt
        bars = page.get_by_role("region", name="Disk", exact=True).locator("b").all_text_contents()
        assert len(bars) == 4 and bars[3] == f"{100 * share:.1f}".removesuffix(".0") + " %"


def test_a_request_leads_to_why_it_missed(opened, daemon):
    answer = daemon.complete(prompt=tokens(100, 3), max_tokens=2)
    name = answer["headers"]["x-request-id"]
    with opened() as shown:
        page = shown.open("requests")
        link = page.get_by_role("link", name=name)
        link.wait_for()
        link.focus()
        page.keyboard.press("Enter")
        page.get_by_text("The prompt leaves the cache at token 0, in block 0").wait_for()
        assert page.url.endswith(f"#requests/{name}")
        row = next(row for row in cells(page, "Requests") if row[0] == name)
        assert row[5] == "0 / 100" and row[6] == "never seen"
        page.goto(f"{shown.url}/#requests/req_none")
        page.get_by_text("It is not among the requests that ended last").wait_for()


def test_a_request_shows_the_tier_that_it_waited_for(browser, tmp_path):
    options = ["--admin-listen", "127.0.0.1:0", "--load-policy", "load",
               "--disk-cache-dir", tmp_path / "disk", "--disk-cache", "64MiB"]
    prompt = tokens(1600, 70)
    with Daemon(*options) as daemon:
        daemon.complete(prompt=prompt, max_tokens=1)
        daemon.signal()  # it spills what is in memory alone
        assert daemon.exit_code() == 0
    with Daemon(*options) as daemon:
        daemon.complete(prompt=prompt, max_tokens=1)
        with Page(browser, f"http://{tcp_address(daemon)}") as shown:
            page = shown.open("requests")
            page.get_by_text("Times as a table").click()
            (row,) = cells(page, "Times as a table")
            host, disk = row[2:4]
            assert host == "0 ms" and disk != "0 ms", row
            label = page.get_by_role("region", name="Requests").get_by_role("img").get_attribute("aria-label")
            assert f"waits for the disk {disk}" in label


def test_the_console_stays_empty_when_views_change_by_keyboard(opened):
    with opened() as shown:
        page = shown.open()
        for title in ("Prefixes", "Requests", "Misses", "Overview"):
            page.get_by_role("link", name=title, exact=True).press("Enter")
            page.wait_for_url(f"**/#{title.lower()}")
            page.locator("main h2").first.wait_for()


def test_prefixes_are_a_tree_that_the_keyboard_walks(opened, daemon):
    system = tokens(64, 40)
    for more in (41, 42, 41, 42):
        daemon.complete(prompt=system + tokens(40, more), max_tokens=1)
    with opened() as shown:
        page = shown.open("prefixes")
        page.locator(".icicle a").nth(3).wait_for()
        rows = cells(page, "Prefixes")
        top = next(row for row in rows if row[1] == "64")
        assert top[2] == "3" and top[4] == "4", "hits, and blocks on the device"
        assert sorted(row[4] for row in rows if row[1] == "96") == ["6", "6", "6"]
        page.locator(f".icicle a[data-key^='{top[0]}']").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_url("**/#prefixes/*")
        key = page.url.rsplit("/", 1)[1]
        page.reload()
        page.get_by_role("heading", name=f"Prefix {key}").wait_for()
        assert page.locator(".icicle a[aria-current]").count() == 1


def test_a_purge_of_a_prefix_asks_first_and_says_what_it_did(opened, daemon):
    prompt = tokens(80, 60)
    for _ in range(2):
        daemon.complete(prompt=prompt, max_tokens=1)
    with opened() as shown:
        page = shown.open("prefixes")

        def row():
            # While the page writes its table anew, a row may lack cells.
            return next((row for row in cells(page, "Prefixes") if row[1:2] == ["80"]), None)
        wait_until(row, "the prefix in the table")
        page.get_by_role("link", name=row()[0], exact=True).first.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Purge this prefix …").click()
        page.get_by_role("dialog", name="Purge the prefix of 80 tokens").wait_for()
        page.keyboard.press("Enter")  # Cancel has the focus
        page.get_by_role("dialog").wait_for(state="hidden")
        page.get_by_role("button", name="Pin …", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Pin", exact=True).click()
        page.get_by_text("Pinned 5 of the 5 blocks on the device").wait_for()
        page.get_by_role("button", name="Purge this prefix …").click()
        page.get_by_role("dialog").get_by_role("button", name="Purge this prefix").click()
        page.get_by_text("Purged 5 blocks from the device").wait_for()
        wait_until(lambda: row() is None, "the prefix to leave the table")
        page.get_by_text("Purged 5 blocks from the device").wait_for()
        assert page.get_by_role("button", name="Purge this prefix …").is_hidden()
    answer = daemon.complete(prompt=prompt, max_tokens=1)
    assert int(answer["headers"]["x-prefixd-cached-tokens"]) == 0


def test_a_drain_asks_first(browser):
    with Daemon("--admin-listen", "127.0.0.1:0") as daemon:
        with Page(browser, f"http://{tcp_address(daemon)}") as shown:
            page = shown.open()
            page.get_by_role("button", name="Drain and stop …").click()
            page.get_by_role("dialog", name="Drain and stop this daemon?").wait_for()
            page.keyboard.press("Enter")  # Cancel has the focus
            page.get_by_role("dialog").wait_for(state="hidden")
            assert daemon.get("/ready")[0] == 200
            page.get_by_role("button", name="Drain and stop …").click()
            page.get_by_role("dialog").get_by_role("button", name="Drain and stop").click()
            page.get_by_text("The daemon drains: new requests are answered 503").wait_for()
            assert daemon.exit_code() == 0
            assert daemon.logged("an operator asked to drain")
            page.get_by_text("The daemon does not answer").wait_for()
            shown.said.clear()  # that it does not answer


def test_the_page_follows_without_being_asked(opened, daemon):
    def cached():
        return daemon.metrics()["prefixd_blocks", (("state", "cached"), ("tier", "device"))]
    before = cached()
    with opened() as shown:
        page = shown.open()
        device = page.get_by_role("region", name="Device", exact=True)
        device.get_by_role("list").get_by_text("cached").wait_for()
        daemon.complete(prompt=tokens(500, 50), max_tokens=1)

        # The answer may come before the engine counts its blocks as cached, so both numbers move on for a
        # moment. Then the page has the one of the metrics.
        def follows():
            now = cached()
            shown_now = device.get_by_role("list").inner_text()
            return now >= before + 500 // 16 and f", {now:.0f} blocks" in shown_now
        wait_until(follows, "the page to show what the metrics have")
        assert sum("admin/events" in url for url in shown.asked) == 1
        assert not any("admin/status" in url for url in shown.asked)


def test_only_its_own_scripts_run(opened, daemon):
    url = f"http://{tcp_address(daemon)}"
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith(kind)
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
    with opened() as shown:
        page = shown.open()
        ran = page.evaluate("""() => {
            const script = document.createElement('script');
            let refused = false;
            try { script.text = 'window.ran = 1'; } catch { refused = true; }
            document.head.append(script);
            return [refused, window.ran];
        }""")
        assert ran == [True, None]
        shown.said.clear()  # the refusals


def test_the_page_asks_for_the_key_that_its_data_needs(browser, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-page\n")
    with Daemon("--admin-listen", "127.0.0.1:0", "--api-keys", keys) as daemon:
        with Page(browser, f"http://{tcp_address(daemon)}") as shown:
            page = shown.page
            page.goto(shown.url)
            page.get_by_label("API key").wait_for()
            assert "requires an API key" in page.get_by_role("alert").inner_text()
            page.keyboard.press("Tab")  # the link to the content
            page.get_by_label("API key").fill("sk-page")
            page.keyboard.press("Enter")
            page.locator("main h2").first.wait_for()
            assert page.get_by_label("API key").is_hidden()
            shown.said = [text for text in shown.said if "401" not in text]
