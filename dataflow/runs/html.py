"""Executed notebooks as pages: complete in one file, which makes no requests.

A notebook's output may come from anywhere. Three things keep it harmless, each by itself:

- What stands in the page has been through an allowlist (`notebook_page/sanitize.py`).
- The page's policy, which is in the file since it may be opened from disk, lets only the page's own
  script run, and nothing load or be sent.
- Everything else is in a frame without an origin, under the same policy.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any

from markupsafe import Markup, escape

from dataflow.base.files import whole_file
from dataflow.runs.notebook_page.model import cell_seconds, memory_text, read_page, summary_of

# Of a file that has no script; what else may be shown of a run, such as a plot it saved.
POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data:; font-src data:; "
    "style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
)
# The second one, which has no word for it, keeps a script with the nonce from loading another.
INLINE_ONLY = f"{POLICY}; script-src 'unsafe-inline'"
_PARTS = Path(__file__).parent / "notebook_page"
_UP = re.compile(rb'<nav class="up">.*?</nav>', re.DOTALL)
_TO_RUN = b'<a href="./">'
_LINKS_WITHIN = 1 << 20  # bytes
_HEAD = 2000  # bytes at a page's beginning that say what wrote it

# One at a time: a page is ready moments after its stage, and never costs the next stage much.
_pages: ThreadPoolExecutor | None = None
_starting = threading.Lock()


def write_page(notebook: Path) -> Path:
    """Write `notebook` as HTML beside it; returns the page."""
    import nbformat

    nb = nbformat.read(notebook, as_version=4)
    page = read_page(nb, notebook)
    nonce = secrets.token_urlsafe(16)
    text = _template().render(
        page=page,
        summary=summary_of(page),
        has_frames=any(output.frame for cell in page.cells for output in cell.outputs),
        metas=Markup(_metas(nonce)),
        nonce=nonce,
        css=Markup(_part("page.css")),
        js=Markup(_part("page.js")),
        seconds=cell_seconds,
        memory=memory_text,
    )
    target = notebook.with_suffix(".html")
    with whole_file(target) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    return target


def _metas(nonce: str) -> str:
    policy = f"{POLICY}; script-src 'nonce-{nonce}'"
    return (
        f'<meta name="dataflow-page" content="{_version()}">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta http-equiv="Content-Security-Policy" content="{INLINE_ONLY}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta http-equiv="x-dns-prefetch-control" content="off">'
    )


@cache
def _part(name: str) -> str:
    return (_PARTS / name).read_text("utf-8")


@cache
def _version() -> str:
    """What pages are written by: another version writes them again."""
    files = sorted(path for path in _PARTS.iterdir() if path.is_file())
    code = b"".join(path.read_bytes() for path in (*files, Path(__file__)))
    return hashlib.sha256(code).hexdigest()[:16]


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(_PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def write_page_soon(notebook: Path) -> Future[Path]:
    """Write the page in the background; the process does not end before it is written."""
    global _pages
    with _starting:
        if _pages is None:
            _pages = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pages")
    return _pages.submit(write_page, notebook)


def page_of(notebook: Path) -> Path:
    """The page of `notebook`, written now if it is missing, older, or another version's."""
    page = notebook.with_suffix(".html")
    if not is_current(page) or page.stat().st_mtime < notebook.stat().st_mtime:
        return write_page(notebook)
    return page


def copy_page(page: Path, target: IO[bytes], label: str, address: str) -> None:
    """Copy a page to a place without the lists of runs above it.

    Args:
        page: a page that was written here.
        target: where it goes.
        label: the text of the link that takes the place of those to the lists.
        address: where that leads, and where the run's id does.
    """
    link = f'<a href="{escape(address)}">'.encode()
    with page.open("rb") as source:
        # The links are before anything of the notebook's own.
        head = source.read(_LINKS_WITHIN)
        up = b'<nav class="up">' + link + str(escape(label)).encode() + b"</a></nav>"
        head = _UP.sub(lambda _: up, head, count=1)
        target.write(head.replace(_TO_RUN, link, 1))
        shutil.copyfileobj(source, target)


def is_current(page: Path) -> bool:
    """Whether `page` was written by this version."""
    try:
        with page.open("rb") as file:
            return f'<meta name="dataflow-page" content="{_version()}">'.encode() in file.read(
                _HEAD
            )
    except OSError:
        return False
