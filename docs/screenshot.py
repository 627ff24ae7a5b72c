"""Make the README's picture of the dashboard, from the project as it is now.

`python docs/screenshot.py [FILE]` after `make demo`. Playwright's Python package drives the
machine's chromium; the dashboards' own server serves the pages on a free port.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataflow.project import Project

SIZE = (1280, 900)  # of the window, in pixels
SCALE = 1.5  # sharp on dense screens, and still a small file
COLOURS = 128  # charts and text have few; it halves the file
LIMIT = 150_000  # bytes: everyone who clones the repository gets the file
READY = "The strongest first"  # text below the charts, there when the data is


def main() -> int:
    """Make the picture; exit code 1 when it would be too large."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument(
        "file", nargs="?", type=Path, default=Path(__file__).parent / "dashboard.png"
    )
    arguments.add_argument("--workflow", default="earthquakes")
    given = arguments.parse_args()
    with served(Project.find()) as address:
        picture = photograph(f"{address}/{given.workflow.replace('_', '-')}")
    given.file.write_bytes(picture)
    print(f"{given.file}: {len(picture):,} bytes")
    return 0 if len(picture) <= LIMIT else 1


@contextmanager
def served(project: Project) -> Iterator[str]:
    """Serve the project's dashboards on a free port; gives the address."""
    import uvicorn

    from dataflow.services.evidence_web import create_app

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(project), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def photograph(url: str) -> bytes:
    """Open `url` in a headless chromium and return what it shows as a PNG of few colours."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(
                viewport={"width": SIZE[0], "height": SIZE[1]}, device_scale_factor=SCALE
            )
            page.goto(url)
            page.wait_for_function(
                "text => document.body.innerText.includes(text)", arg=READY, timeout=90_000
            )
            raw = _settled(page)
        finally:
            browser.close()
    image = Image.open(io.BytesIO(raw)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    result = io.BytesIO()
    image.save(result, "PNG", optimize=True)
    return result.getvalue()


def _settled(page: Any) -> bytes:
    """What the page shows once it no longer changes: charts draw themselves in."""
    before = b""
    for _ in range(30):
        page.wait_for_timeout(1_500)
        now: bytes = page.screenshot()
        if now == before:
            return now
        before = now
    raise SystemExit("the page does not come to rest")


if __name__ == "__main__":
    sys.exit(main())
