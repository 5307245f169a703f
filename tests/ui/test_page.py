"""The page in a real browser, before a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.client import Client
from marina.client.management import ManagementClient
from marina.errors import Conflict
from marina.export.torchscript import export
from marina.serve import GatewayOptions, ServeConfig, resolve, running
from marina.serve.ports import free_ports
from marina.train.run import Run
from marina.ui import PageServer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DIGIT = Path(__file__).parents[2] / "digit.png"

pytestmark = pytest.mark.slow
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium, as .ci/run installs it: apt-get install chromium"
)


@contextmanager
def answering(client: Client, manager: ManagementClient) -> Iterator[PageServer]:
    """Serve the page in a thread."""
    with PageServer(client, 0, manager) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """The page of a server with two versions of one model."""
    folder = tmp_path_factory.mktemp("ui")
    store = ModelStore(folder / "store")
    export(quick_run)
    for version in ("1.0", "2.0"):
        archive(quick_run, version, store)
    config = ServeConfig.on_free_ports(store.folder)
    config = replace(config, gateway=GatewayOptions(free_ports(1)[0], explanations=True))
    with (
        running(config, resolve([], store.folder), log_dir=folder / "logs") as server,
        Client(server.rest_url, management=server.management_url) as client,
        ManagementClient(server.management_url) as manager,
        answering(client, manager) as site,
    ):
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=options) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser: Browser, site: PageServer) -> Iterator[Page]:
    """The page on a narrow screen; a fault of its script fails the test."""
    expect.set_options(timeout=60_000)
    page = browser.new_page(viewport={"width": 360, "height": 640})
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(site.url)
    yield page
    page.close()
    assert problems == []


def drop(page: Page, name: str, data: bytes) -> None:
    """Drop a file on the page, as a mouse would."""
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            return transfer;
        }""",
        [name, list(data)],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


@in_a_browser
def test_a_dropped_image_is_answered_by_each_version(page: Page, site: PageServer) -> None:
    expect(page.locator("#server")).to_have_text(f"{site.client.url} is ready")
    drop(page, "a digit's.png", DIGIT.read_bytes())
    expect(page.locator("#preview")).to_be_visible()
    answers = page.locator("article")
    expect(answers).to_have_count(2)
    expected = site.client.predict(DIGIT, "resnet", "1.0", top_k=5)
    for index, version in enumerate(("1.0", "2.0")):
        answer = answers.nth(index)
        expect(answer.locator(".version")).to_have_text(f"resnet {version}")
        expect(answer.locator(".note")).to_contain_text("ms")
        expect(answer.locator("li")).to_have_count(5)
        expect(answer.locator("li").first).to_contain_text(
            f"{expected[0].label}{expected[0].probability:.1%}"
        )
    expect(answers.nth(1).locator(".note")).to_contain_text("default")
    expect(page.locator("#curl")).to_have_text(
        rf"curl -X POST -T 'a digit'\''s.png' {site.client.url}/predictions/resnet"
    )
    narrow = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert narrow, "the page scrolls sideways on a narrow screen"


@in_a_browser
def test_the_keyboard_chooses_and_explains(page: Page) -> None:
    page.on("filechooser", lambda _: None)  # from here on the browser shows none of its own
    expect(page.locator("#model")).to_have_value("resnet")
    page.keyboard.press("Tab")
    expect(page.locator("#model")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(DIGIT)
    answer = page.locator("article").first
    expect(answer.locator(".explain")).to_be_visible()
    page.keyboard.press("Tab")
    expect(answer.locator(".explain")).to_be_focused()
    page.keyboard.press("Enter")
    heatmap = answer.locator(".heatmap")
    expect(heatmap).to_be_visible()
    assert page.evaluate("document.querySelector('.heatmap').naturalWidth") > 0
    expect(answer.locator(".legend")).to_contain_text("Red speaks for")
    expect(answer.locator(".explanation")).to_be_focused()  # the keyboard goes on from there


@in_a_browser
def test_a_bad_file_is_named_as_such(page: Page) -> None:
    expect(page.locator("#model")).to_have_value("resnet")
    drop(page, "words.png", b"these are words, not pixels")
    error = page.locator("article").first.locator(".error")
    expect(error).to_contain_text("bytes that are not an image (400)")
    expect(page.locator("#preview")).to_be_hidden()
    drop(page, "digit.png", DIGIT.read_bytes())
    expect(page.locator("article").first.locator("li")).to_have_count(5)
    expect(page.locator(".error:visible")).to_have_count(0)


@in_a_browser
def test_the_split_is_shown(page: Page, site: PageServer) -> None:
    expect(page.locator("#server")).to_contain_text("is ready")
    expect(page.locator("#split")).to_be_hidden()
    site.manager.set_split("resnet", {"1.0": 75, "2.0": 25})
    try:
        page.reload()
        arms = page.locator("#split .bar span")
        expect(arms).to_have_text(["1.0: 75%", "2.0: 25%"])
        widths = [arms.nth(index).bounding_box()["width"] for index in range(2)]  # type: ignore[index]
        assert widths[0] > 1.5 * widths[1]
    finally:
        site.manager.clear_split("resnet")


def test_a_server_without_a_gateway_has_no_splits(site: PageServer) -> None:
    assert httpx.get(f"{site.url}/api/status").json()["splits"] == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.manager, "splits", _refuse)
        status = httpx.get(f"{site.url}/api/status")
    assert (status.status_code, status.json()["splits"]) == (200, {})


def _refuse() -> None:
    raise Conflict("this server has no gateway to split traffic")


@in_a_browser
def test_the_request_is_copied(page: Page) -> None:
    expect(page.locator("#model")).to_have_value("resnet")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drop(page, "digit.png", DIGIT.read_bytes())
    page.get_by_role("button", name="Copy").nth(1).click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert 'client.predict("digit.png", model="resnet")' in copied
    compile(copied, "page", "exec")


@in_a_browser
def test_a_copied_request_shows_the_token(page: Page, site: PageServer, tmp_path: Path) -> None:
    """The shell and Python take the file's name as it is, and give what is in it."""
    keys = tmp_path / "keys of today's.json"
    shutil.copyfile(DIGIT, tmp_path / "digit.png")
    keys.write_text(json.dumps({"inference": {"key": "secret", "expiration time": "never"}}))
    site.token_file = keys
    try:
        page.reload()
        expect(page.locator("#model")).to_have_value("resnet")
        drop(page, "digit.png", DIGIT.read_bytes())
        curl, python = (page.locator(f"#{name}").inner_text() for name in ("curl", "python"))
    finally:
        site.token_file = None
    command = f"curl() {{ printf '%s\\n' \"$@\"; }}; {curl}"
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    said = subprocess.check_output(["sh", "-c", command], text=True, env={"PATH": path})
    assert "Authorization: Bearer secret" in said.splitlines()
    run = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example:80"}], ids=str
)
def test_other_sites_reach_no_model(site: PageServer, headers: dict[str, str]) -> None:
    refused = httpx.post(f"{site.url}/api/predict/resnet/1.0", content=b"x", headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (400, "BadRequest")


def test_what_is_not_there_is_not_found(site: PageServer) -> None:
    assert httpx.get(f"{site.url}/../../etc/passwd").status_code == 404
    assert httpx.get(f"{site.url}/api/predict").status_code == 404
    missing = httpx.post(f"{site.url}/api/predict/nothing/1.0", content=DIGIT.read_bytes())
    assert missing.status_code == 404


def test_a_server_that_is_gone_is_said_to_be() -> None:
    nowhere = "http://127.0.0.1:9"
    with (
        Client(nowhere, management=nowhere) as client,
        ManagementClient(nowhere) as manager,
        answering(client, manager) as site,
    ):
        status = httpx.get(f"{site.url}/api/status")
    assert status.status_code == 502
    assert "cannot reach" in status.json()["message"]
