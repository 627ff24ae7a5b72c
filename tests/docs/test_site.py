"""The documentation as a site: whole, and of use without any other machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import DESKTOP, PHONE, Visit, browser_page
from docs_pages import pages
from projects import REPOSITORY
from test_docs import commands

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-M", "html", ".", folder, "-c", "docs", "-W", "-q"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder / "html"


class _Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        (self.links if tag == "a" else self.loads).extend(
            found[name] for name in ("href", "src") if name in found
        )


def pages_of(site: Path) -> list[Path]:
    """The pages that readers see; the theme leaves a template among its own files."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def test_every_link_of_the_site_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path):
    parsed = {path: _Page(path) for path in pages_of(site)}
    broken = []
    for path, page in parsed.items():
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loads:
                    broken.append(f"{path.name} loads {target}")
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not file.is_file() or (anchor and anchor not in parsed[file].ids):
                broken.append(f"{path.name}: {target}")

    assert broken == []


def test_the_site_has_every_page_and_every_command_in_its_order(site: Path):
    start = _Page(site / "index.html")
    html = (site / "docs" / "reference" / "commands.html").read_text("utf-8")
    titles = re.findall(r'<section id="(dataflow[^"]*)">', html)

    assert {f"docs/{page.stem}.html" for page in pages(REPOSITORY)[1:]} <= set(start.links)
    assert titles == ["-".join(("dataflow", *words)) for words in commands() if words]


@pytest.mark.browser
def test_a_word_is_found_in_the_files_alone(site: Path):
    with reading(site / "index.html") as visit:
        visit.page.keyboard.press("Control+k")
        visit.page.keyboard.type("retries")
        visit.page.keyboard.press("Enter")
        visit.wait_for_text("pages matching the search query")
        visit.page.get_by_role("link", name="Operations").last.click()
        visit.wait_for_text("Retries and time limits")


@pytest.mark.browser
def test_every_page_fits_a_phone(site: Path):
    with reading(site / "index.html", PHONE) as visit:
        wide = []
        for path in pages_of(site):
            visit.page.goto(path.as_uri())
            if visit.page.evaluate("document.documentElement.scrollWidth") > PHONE[0]:
                wide.append(path.name)
        assert wide == []


@contextmanager
def reading(page: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    """Open a page from the disk; it must ask no other machine for anything, and have no error."""
    with browser_page(size) as visit:
        visit.page.goto(page.as_uri())
        yield visit
        visit.assert_clean()
