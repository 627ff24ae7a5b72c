"""A real browser for tests: a page that remembers what it asked for and what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request, Response, sync_playwright

DESKTOP = (1280, 900)
PHONE = (390, 844)
_OF_THIS_MACHINE = {"localhost", "127.0.0.1", "[::1]", "::1", None}
# The browser itself asks its maker's servers for updates and the like; a test must not.
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visit:
    """An open page and its record.

    Args:
        page: Playwright's page.
        left: addresses of requests that went, or wanted to go, to another machine.
        errors: console errors and uncaught exceptions.
        failed: requests of this machine that failed or were answered with 400 or more.
    """

    page: Page
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def open(self, url: str, text: str) -> None:
        """Go to `url` and wait until `text` is to be read there."""
        self.page.goto(url)
        self.wait_for_text(text)

    def wait_for_text(self, text: str, seconds: float = 60) -> None:
        """Wait until `text` is visible; the first load of a page's engine takes seconds."""
        self.page.wait_for_function(
            "text => document.body?.innerText.includes(text)", arg=text, timeout=seconds * 1000
        )

    def text(self) -> str:
        """What a person reads on the page now."""
        return self.page.inner_text("body")

    def assert_clean(self) -> None:
        """Nothing left the machine, no console error, no failed request."""
        assert self.left == []
        assert self.errors == []
        assert self.failed == []


def chromium() -> str | None:
    """The path of the machine's chromium, None when there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None


@contextmanager
def browser_page(
    size: tuple[int, int] = DESKTOP, *, downloads: Path | None = None
) -> Iterator[Visit]:
    """Open a page in a headless chromium with a fresh profile; requests elsewhere are refused.

    Args:
        size: width and height of the window in pixels.
        downloads: where downloads go; refused when None.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), headless=True, args=_QUIET, downloads_path=downloads
        )
        try:
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]},
                is_mobile=size[0] < 600,
                accept_downloads=downloads is not None,
                timezone_id="America/New_York",
            )
            page = context.new_page()
            visit = Visit(page)
            _record(visit)
            yield visit
        finally:
            browser.close()


def _record(visit: Visit) -> None:
    page = visit.page

    def is_elsewhere(url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https", "ws", "wss") and (
            parts.hostname not in _OF_THIS_MACHINE
        )

    def on_request(request: Request) -> None:
        if is_elsewhere(request.url):
            visit.left.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            visit.errors.append(message.text)

    def on_failed(request: Request) -> None:
        # A page that is left cancels what it was loading.
        if not is_elsewhere(request.url) and request.failure != "net::ERR_ABORTED":
            visit.failed.append(f"{request.failure} {request.url}")

    def on_response(response: Response) -> None:
        if response.status >= 400 and not is_elsewhere(response.url):
            visit.failed.append(f"{response.status} {response.url}")

    page.route(is_elsewhere, lambda route: route.abort())
    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", on_failed)
    page.on("response", on_response)
