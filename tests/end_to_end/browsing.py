"""A real browser: Debian's Chromium, driven by Playwright. What it complains about fails the test."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

PATIENCE = 30.0
CHROMIUM = "/usr/bin/chromium"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser without a window; the test is skipped where there is none, and fails in CI."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed; `make install` does that")
    if shutil.which(CHROMIUM) is None:
        _missing(f"the page is tested in {CHROMIUM}, which is missing; `apt-get install chromium` brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def _missing(sentence: str) -> None:
    if os.environ.get("CI") == "true":
        raise AssertionError(sentence)
    pytest.skip(sentence)


class Visit:
    """A person's visit: a page, what its console complained about, and which hosts it spoke to."""

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.troubled = False
        """Whether requests are meant to fail; the browser logs each that does."""
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{error.name}: {error.message}"))
        page.on("request", self._asked)

    def open(self, path: str = "", ready: str = ".tile .shown") -> "Visit":
        """Load a path of the page, and wait until something is shown."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("html[data-ready]")
        if ready:
            self.page.wait_for_selector(ready)
        return self

    def search(self, words: str) -> None:
        """Type words and press Enter."""
        self.page.fill("#words", words)
        self.page.press("#words", "Enter")

    def address(self) -> str:
        """The part of the address after the path, as the page itself sees it."""
        return str(self.page.evaluate("location.search + location.hash"))

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that a selector finds."""
        return self.page.locator(selector).all_inner_texts()

    def says(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_contain_text(text, timeout=PATIENCE * 1000)

    def until(self, expression: str, argument: Any = None) -> None:
        """Wait until a JavaScript expression holds."""
        # Playwright's own waiting evaluates text inside the page, which the page's policy forbids.
        deadline = time.monotonic() + PATIENCE
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, f"within {PATIENCE:g} s this did not come to hold: {expression}"
            self.page.wait_for_timeout(20)

    def check(self) -> None:
        """Nothing was complained about, and nobody else was spoken to."""
        failed = "Failed to load resource"
        assert [one for one in self.complaints if not (self.troubled and failed in one)] == []
        assert self.foreign == []

    def _heard(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: "Request") -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in ("blob", "data") and asked.netloc != urlsplit(self.url).netloc:
            self.foreign.append(request.url)


@contextmanager
def visiting(browser: "Browser", url: str, **options: Any) -> Iterator[Visit]:
    """A visit by somebody who was never there before; checked at its end."""
    context = browser.new_context(**({"viewport": {"width": 1360, "height": 860}} | options))
    context.set_default_timeout(PATIENCE * 1000)
    visit = Visit(context.new_page(), url)
    try:
        yield visit
        visit.check()
    finally:
        context.close()
